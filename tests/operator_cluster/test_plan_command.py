"""`assay plan`: what fits, what does not and why, and what to change."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
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


def plan(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", *arguments])


def stages(*arguments: str) -> dict[str, Any]:
    found = json.loads(plan("--json", *arguments).stdout)
    return {stage["stage"]: stage for stage in found["stages"]}


def test_the_paper_recipe_fits_40_gib_with_one_row_in_a_micro_batch() -> None:
    done = plan("-f", str(RECIPE))
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n  fits") == 3
    assert "judge sophiavl GPU" in done.stdout


def test_a_stage_that_does_not_fit_is_refused_with_the_numbers() -> None:
    eight = "--set=TrainingStage/foundation.spec.placement.microBatch=8"
    done = plan("-f", str(RECIPE), eight)
    assert done.exit_code == 2
    assert re.search(
        r"1 of 3 stages do not fit: foundation; foundation: learner GPU: \d+\.\d GiB are needed "
        r"\(backward\), 38\.0 GiB are there",
        done.stderr,
    )


def test_what_is_advised_helps() -> None:
    eight = "--set=TrainingStage/foundation.spec.placement.microBatch=8"
    advised = stages("-f", str(RECIPE), eight)["foundation"]["advice"]
    found = re.match(r"spec\.placement\.microBatch: (\d) \(learner GPU", advised[0])
    assert found
    helped = eight.replace("=8", f"={found[1]}")
    assert stages("-f", str(RECIPE), helped)["foundation"]["fits"]


def test_terms_add_up_to_what_is_needed() -> None:
    for stage in stages("-f", str(RECIPE)).values():
        learner = stage["learner"]
        there = [t["bytes"] for t in learner["terms"] if learner["moment"] in t["moments"]]
        assert sum(there) == learner["neededBytes"] < learner["availableBytes"]
        for engine in stage["engines"]:
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
