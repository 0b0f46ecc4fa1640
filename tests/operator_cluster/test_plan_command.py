"""`assay plan`: what fits, what does not and why, and what to change."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from assay_api.errors import InvalidInput
from assay_trainer.cli.main import app

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "manifests/recipes/busterx-plusplus"
CPU = """
store: {url: "s3://assay/runs"}
images: {trainer: "trainer:1", data: "data:1"}
accelerator: Cpu
nodePools:
  default: {nodes: 1, cpus: 4, memoryGib: 24, shmGib: 4}
"""


ONE_NODE = """
store: {url: "s3://assay/runs"}
images: {trainer: "trainer:1", data: "data:1"}
cpuPool: cpu
nodePools:
  default: {gpusPerNode: 8, gpuMemoryGib: %d, nodes: 1, cpus: 96, memoryGib: 1000, shmGib: 64}
  cpu: {nodes: 1, cpus: 16, memoryGib: 64, shmGib: 4}
"""


@pytest.fixture
def one_node(tmp_path: Path) -> str:
    pools = tmp_path / "one-node.yaml"
    pools.write_text(ONE_NODE % 40)
    return str(pools)


def plan(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", *arguments])


def planned(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(plan("--json", *arguments).stdout)
    return found


def stages(*arguments: str) -> dict[str, Any]:
    return {stage["stage"]: stage for stage in planned(*arguments)["stages"]}


def engines(*arguments: str) -> dict[str, Any]:
    return {engine["resource"]: engine for engine in planned(*arguments)["engines"]}


@pytest.mark.parametrize("recipe", [RECIPE, RECIPE / "pipeline"])
def test_the_paper_recipe_fits_one_node_with_its_judge_and_its_evaluation(
    recipe: Path, one_node: str
) -> None:
    done = plan("-f", str(recipe), "--pools", one_node)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n  fits") == 5
    at_once = {
        moment["resource"].rpartition("-")[2].rpartition("/")[2]: [
            (pods["what"], pods["count"] * pods["gpus"]) for pods in moment["pool"]["pods"]
        ]
        for moment in planned("-f", str(recipe), "--pools", one_node)["atOnce"]
    }
    assert at_once == {
        "foundation": [("learners", 4), ("rollouts", 4)],
        # The judge of the next stage gets ready meanwhile.
        "fusion": [("learners", 4), ("judges", 1)],
        "advanced": [("learners", 4), ("rollouts", 3), ("judges", 1)],
        "out": [("evaluation", 1)],
    }


def test_a_judge_beside_eight_gpus_of_a_stage_needs_a_second_node(one_node: str) -> None:
    four = "--set=TrainingStage/advanced.spec.placement.rollouts=4"
    done = plan("-f", str(RECIPE), four, "--pools", one_node)
    assert done.exit_code == 2
    assert "pool: 9 GPUs on 2 nodes are needed, there are 1 nodes of 8 GPUs" in done.stderr
    assert "to change:\n    spec.placement.rollouts: 3 (" in done.stdout


def test_an_evaluation_that_does_not_fit_is_refused_with_the_numbers(tmp_path: Path) -> None:
    # 0.9 x 16 GiB are less than the 15.4 GiB of weights.
    pools = tmp_path / "pools.yaml"
    pools.write_text(ONE_NODE % 16)
    done = plan("-f", str(RECIPE), "--pools", str(pools))
    assert done.exit_code == 2
    assert re.search(
        r"Evaluation/held-out: .*\n(.*\n)+  does not fit:\n    GPU: of vLLM's 14\.4 GiB "
        r"-\d\.\d GiB are left for keys and values, 0 tokens; one sequence has 2,\d{3}",
        done.stdout,
    )
    assert "RewardModel/sophiavl" not in done.stderr


def test_an_evaluation_asks_as_its_model_s_stage_does_and_answers_as_long_as_it_may() -> None:
    own = "--set=TrainingStage/advanced.spec.prompt.question=Real or fake?"
    longer = "--set=TrainingStage/advanced.spec.prompt.think=" + 300 * "x"
    answers = "--set=Evaluation/held-out.spec.maxCompletionTokens=2000"
    before = engines("-f", str(RECIPE), own)["Evaluation/held-out"]
    after = engines("-f", str(RECIPE), own, longer, answers)["Evaluation/held-out"]
    assert after["promptTokens"] - before["promptTokens"] == 100
    assert after["completionTokens"] == 2000
    assert after["contextTokens"] == after["promptTokens"] + 2000


def test_a_judge_whose_context_is_shorter_than_a_request_does_not_fit() -> None:
    short = "--set=RewardModel/sophiavl.spec.maxModelLengthTokens=1024"
    found = engines("-f", str(RECIPE), short)["RewardModel/sophiavl"]
    # 4 frames of 188 tokens and 8 marks around them, 501 of instructions, 750 that are judged.
    assert re.fullmatch(
        r"maxModelLengthTokens: a request of TrainingStage/advanced has up to 2,\d{3} tokens, "
        r"1,024 are allowed",
        found["problems"][0],
    )


def test_an_evaluation_alone_is_planned(tmp_path: Path) -> None:
    done = plan(
        *("-f", str(RECIPE / "00-videos.yaml"), "-f", str(RECIPE / "40-evaluation.yaml")),
        "--set=Evaluation/held-out.spec.model={uri: s3://m/Qwen2.5-VL-7B}",
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("Evaluation/held-out: Qwen2.5-VL-7B")


def test_a_stage_that_does_not_fit_is_refused_with_the_numbers() -> None:
    eight = "--set=TrainingStage/foundation.spec.placement.microBatch=8"
    done = plan("-f", str(RECIPE), eight)
    assert done.exit_code == 2
    assert re.search(
        r"1 of 5 resources do not fit: TrainingStage/foundation; TrainingStage/foundation: learner "
        r"GPU: \d+\.\d GiB are needed "
        r"\(backward\), 38\.0 GiB are there",
        done.stderr,
    )


def test_disk_of_a_pod_is_what_it_copies_and_writes(one_node: str) -> None:
    found = planned("-f", str(RECIPE))
    hosts = {host["pods"]: host for host in found["stages"][0]["hosts"]}
    weights, dataset, logs = 2 * 8_292_166_656, 8 * 2**30, 2 * 2**30
    assert hosts["rollouts"]["diskBytes"] == weights + dataset + logs
    # A checkpoint to go on from, weights that train, their copies and moments; and the result on
    # its way out, adapters beside it.
    checkpoint, result = 14 * 10_092_544, weights + 2 * 10_092_544
    expected = weights + dataset + logs + checkpoint + result
    assert hosts["learners"]["diskBytes"] == expected
    assert hosts["learners"]["diskAvailableBytes"] == 500 * 2**30
    judge, evaluation = (engine["hosts"][0] for engine in found["engines"])
    assert judge["diskBytes"] == 2 * 3_754_622_976 + logs
    assert evaluation["diskBytes"] == weights + dataset + logs
    advanced = found["atOnce"][2]
    assert advanced["nodeDiskBytes"] == (
        sum(hosts[what]["diskBytes"] for what in ("learners", "rollouts")) + judge["diskBytes"]
    )
    not_told = planned("-f", str(RECIPE), "--pools", one_node)["stages"][0]["hosts"][0]
    assert not_told["diskAvailableBytes"] is None


def test_too_little_disk_is_refused_with_the_numbers(tmp_path: Path) -> None:
    pools = tmp_path / "pools.yaml"
    pools.write_text((ONE_NODE % 40).replace("shmGib: 64", "shmGib: 64, diskGib: 80"))
    done = plan("-f", str(RECIPE), "--pools", str(pools))
    assert done.exit_code == 2
    assert (
        "disk of a pod of learners: 41.0 GiB are needed, 40.0 GiB is its share of the node"
        in done.stdout
    )
    assert "disk of a pod of evaluation: 25.4 GiB are needed, 10.0 GiB" in done.stdout


def test_copies_lie_in_the_shared_cache_where_there_is_one(tmp_path: Path) -> None:
    pools = tmp_path / "pools.yaml"
    pools.write_text(ONE_NODE % 40 + "cache: {claim: downloads, sizeGib: 20}\n")
    found = planned("-f", str(RECIPE), "--pools", str(pools))
    evaluation = found["engines"][1]["hosts"][0]
    assert evaluation["diskBytes"] == 2 * 2**30
    assert evaluation["sharedCacheBytes"] == 2 * 8_292_166_656 + 8 * 2**30
    assert found["stages"][0]["problems"] == [
        "cache.sizeGib: 23.6 GiB are copied for a pod of learners, the shared cache keeps 20.0 GiB",
        "cache.sizeGib: 23.4 GiB are copied for a pod of rollouts, the shared cache keeps 20.0 GiB",
    ]


def test_a_scheduled_evaluation_makes_a_model_of_the_checkpoint_that_it_finds() -> None:
    once = engines("-f", str(RECIPE))["Evaluation/held-out"]["hosts"][0]["diskBytes"]
    nightly = "--set=Evaluation/held-out.spec.schedule=0 3 * * *"
    again = engines("-f", str(RECIPE), nightly)["Evaluation/held-out"]["hosts"][0]["diskBytes"]
    assert again - once == 2 * 8_292_166_656 + 2 * 10_092_544


def test_what_is_advised_helps() -> None:
    eight = "--set=TrainingStage/foundation.spec.placement.microBatch=8"
    advised = stages("-f", str(RECIPE), eight)["foundation"]["advice"]
    found = re.match(r"spec\.placement\.microBatch: (\d) \(learner GPU", advised[0])
    assert found
    helped = eight.replace("=8", f"={found[1]}")
    assert stages("-f", str(RECIPE), helped)["foundation"]["fits"]


def test_terms_add_up_to_what_is_needed() -> None:
    found = planned("-f", str(RECIPE))
    for stage in found["stages"]:
        learner = stage["learner"]
        there = [t["bytes"] for t in learner["terms"] if learner["moment"] in t["moments"]]
        assert sum(there) == learner["neededBytes"] < learner["availableBytes"]
    gpus = [stage["rollout"] for stage in found["stages"]]
    for engine in [*gpus, *(pod["engine"] for pod in found["engines"])]:
        before_cache = sum(term["bytes"] for term in engine["terms"])
        assert before_cache + engine["cacheBytes"] == engine["budgetBytes"]


def test_all_weights_of_the_7b_model_on_four_gpus_of_40_gib_are_refused() -> None:
    everything = "--set=TrainingStage/foundation.spec.lora=null"
    found = stages("-f", str(RECIPE), everything)["foundation"]
    # Weights, and 12 bytes of state for each trained weight over four learners: 36.7 GiB alone.
    terms = {t["name"]: t["bytes"] for t in found["learner"]["terms"]}
    state = 12 * 7_615_616_512 // 4
    assert terms["weights"] + terms["optimiser"] == 2 * 8_292_166_656 + state
    assert not found["fits"]
    assert found["problems"][0].startswith("learner GPU: ")
    assert any("spec.lora: {rank: 16}" in change for change in found["advice"])


def test_more_gpus_than_the_pool_has_are_refused() -> None:
    found = stages("-f", str(RECIPE), "--set=TrainingStage/foundation.spec.placement.rollouts=64")[
        "foundation"
    ]
    assert found["problems"] == ["pool: 68 GPUs on 9 nodes are needed, there are 4 nodes of 8 GPUs"]


def test_a_pipeline_is_planned_stage_by_stage(tmp_path: Path) -> None:
    source = {"folder": {"uri": "file:///videos"}}
    dataset = {"kind": "Dataset", "metadata": {"name": "clips"}, "spec": {"source": source}}
    rl = {
        "dataset": "clips",
        "lora": {},
        "rl": {"steps": 1},
        "rewards": [{"type": "Accuracy"}],
        "placement": {"microBatch": 1},
    }
    first = {"name": "one", "spec": {"model": {"uri": "/m/Qwen2.5-VL-3B-Instruct"}, **rl}}
    second = {"name": "two", "spec": {"model": {"fromStage": "one"}, **rl}}
    pipeline = {
        "kind": "TrainingPipeline",
        "metadata": {"name": "both"},
        "spec": {"stages": [first, second]},
    }
    for name, body in (("a", dataset), ("b", pipeline)):
        whole = {"apiVersion": "assay.dev/v1alpha1", **body}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(whole))
    found = stages("-f", str(tmp_path))
    assert {name: stage["model"]["name"] for name, stage in found.items()} == {
        "both-one": "Qwen2.5-VL-3B",
        "both-two": "Qwen2.5-VL-3B",
    }


def test_the_tiny_recipe_fits_a_machine_without_gpu(tmp_path: Path) -> None:
    pools = tmp_path / "cpu.yaml"
    pools.write_text(CPU)
    done = plan("-f", str(RECIPE / "tiny"), "--pools", str(pools))
    assert done.exit_code == 0, done.output
    assert "GPU," not in done.stdout and "estimated" not in done.stdout


def test_the_tiny_recipe_fits_the_small_node_that_it_runs_on(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "charts/assay/values-local.yaml").read_text())
    pools = {"nodePools": values["nodePools"], "accelerator": values["accelerator"]}
    platform = {**yaml.safe_load(CPU), **pools}
    (tmp_path / "local.yaml").write_text(yaml.safe_dump(platform))
    done = plan("-f", str(RECIPE / "tiny"), "--pools", str(tmp_path / "local.yaml"))
    assert done.exit_code == 0, done.output
    assert "Evaluation/held-out: scratch" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set=TrainingStage/foundation.spec.model.uri=s3://m/own"], "--model-config FILE"),
        (
            ["--set=TrainingStage/fusion.spec.placement.pool=defualt"],
            "no node pool 'defualt'; there are: cpu, default; did you mean default?",
        ),
        (["--set=TrainingStage/fusion.spec.placement.pool=cpu"], "'cpu' has no GPUs"),
        (["--frame-size=wide"], "--frame-size wide: must be WIDTHxHEIGHT"),
        (["--pools=none.yaml"], "none.yaml"),
        (["--model-config=none.json"], "none.json: can't be read"),
    ],
)
def test_wrong_input_says_what_is_allowed(arguments: list[str], message: str) -> None:
    done = plan("-f", str(RECIPE), *arguments)
    assert isinstance(done.exception, InvalidInput)
    assert message in str(done.exception)


def test_known_frame_sizes_and_a_model_s_own_config_are_used(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    sizes = {
        "model_type": "qwen2_5_vl",
        "hidden_size": 1024,
        "num_hidden_layers": 10,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "intermediate_size": 4096,
        "vocab_size": 151_936,
        "vision_config": {
            "depth": 8,
            "hidden_size": 640,
            "intermediate_size": 1700,
            "num_heads": 8,
        },
    }
    config.write_text(json.dumps(sizes))
    uri = "--set=TrainingStage/foundation.spec.model.uri=s3://m/own"
    found = stages(
        *("-f", str(RECIPE), uri, "--model-config", str(config), "--frame-size", "1024x1024")
    )["foundation"]
    assert found["visualTokens"] == 8 * 169
    assert found["model"]["name"] == tmp_path.name


def test_it_needs_no_torch() -> None:
    program = (
        "import sys; from assay_trainer.cli.main import app\n"
        f"app(['plan', '-f', {str(RECIPE)!r}, '--json'], standalone_mode=False)\n"
        "print(*(n for n in ('torch', 'transformers', 'numpy') if n in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1:] in ([], [""])
