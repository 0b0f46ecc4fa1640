"""The real model on one GPU, in under eight minutes: `python benchmarks/gpu.py`.

Makes a random Qwen2.5-VL-7B in the published layout (or takes `--model DIR`) and videos, and then,
each in a process of its own, as one stage's processes would use the GPU:

1. a learner trains its adapters for two steps, with a checkpoint between them;
2. a sampler takes the adapters of that checkpoint and draws rollouts;
3. another learner resumes from the checkpoint, scores those rollouts, and repeats the second step.

It prints how far sampler and learner differ on the same tokens, what each of them holds of the GPU
beside what `assay plan` says, the seconds of each part, and how far the resumed step is from the
uninterrupted one. Without a GPU it does the same on the CPU with a small model.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

EDGES_NATS = (1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Upper edges of the histogram's bars; the last bar has none."""
_PROMPTS, _GROUP_SIZE = 2, 4


@dataclass(frozen=True, slots=True)
class Setup:
    """What is run, and on what."""

    work: Path
    model: Path
    on_gpu: bool
    width_pixels: int
    completion_tokens: int

    @property
    def manifest(self) -> Path:
        """The manifests of dataset and stage."""
        return self.work / "stage.yaml"

    @property
    def adapters(self) -> Path:
        """The adapters of the checkpoint, as the sampler is sent them."""
        return self.work / "adapters.safetensors"

    @property
    def rollouts(self) -> Path:
        """What the sampler drew."""
        return self.work / "rollouts.json"

    @property
    def trained(self) -> Path:
        """The adapters after the second step, without an interruption."""
        return self.work / "trained.safetensors"


def main() -> int:
    """Run the parts, print the table; return 1 if the resumed step or the samples are off."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", type=Path, help="folder of a Qwen2.5-VL, instead of a random one"
    )
    parser.add_argument("--cpu", action="store_true", help="on the CPU, although there is a GPU")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-gpu-") as work:
        result = measure(Path(work), arguments.model, cpu=arguments.cpu)
    print(json.dumps(result, indent=1) if arguments.json else as_text(result))
    return int(bool(result["wrong"]))


def measure(work: Path, model: Path | None = None, *, cpu: bool = False) -> dict[str, Any]:
    """Return all figures of one run.

    Args:
        work: an empty folder, for a model of 17 GB, videos and checkpoints.
        model: folder of a Qwen2.5-VL; None makes a random one: 7B on a GPU, small on a CPU.
        cpu: run on the CPU in any case.
    """
    device = apart(device_facts)
    on_gpu = device["gpu"] is not None and not cpu
    setup = Setup(
        work=work,
        model=model or work / "random-model",
        on_gpu=on_gpu,
        width_pixels=364 if on_gpu else 56,
        completion_tokens=750 if on_gpu else 24,
    )
    seconds: dict[str, float] = {}

    def timed(name: str, part: Callable[[Setup], dict[str, Any]]) -> dict[str, Any]:
        print(f"gpu: {name}", file=sys.stderr)
        started = time.perf_counter()
        answer = apart(part, setup)
        seconds[name] = time.perf_counter() - started
        return answer

    timed("make the inputs", make_inputs)
    learner = timed("learner: two steps and a checkpoint", train)
    sampler = timed("sampler: load adapters and draw", sample)
    resumed = timed("learner: resume, score, repeat a step", resume)
    planned = plan(setup, device)
    result = {
        "device": device if on_gpu else {**device, "gpu": None},
        "model": model_facts(setup.model),
        "tokens": {"prompt": resumed["prompt_tokens"], "completion": setup.completion_tokens},
        "seconds": seconds,
        "learner": learner,
        "sampler": sampler,
        "mismatch": resumed["mismatch"],
        "resume_max_difference": resumed["max_difference"],
        "plan": planned,
    }
    return result | {"wrong": wrong(result)}


def apart(part: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run a part in a process of its own: what it held of the GPU is free afterwards."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(part, *arguments).result()


def device_facts() -> dict[str, Any]:
    """Return the GPU's name and memory, or None, and the software."""
    import torch

    if not torch.cuda.is_available():
        return {"gpu": None, "torch": torch.__version__}
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "memory_bytes": properties.total_memory,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }


def model_facts(folder: Path) -> dict[str, Any]:
    """Return the sizes of a model."""
    config = json.loads((folder / "config.json").read_text())
    return {
        "hidden_size": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        "bytes": sum(file.stat().st_size for file in folder.glob("*.safetensors")),
    }


def make_inputs(setup: Setup) -> dict[str, Any]:
    """Write model, videos, dataset, and the manifests of a stage of RL on one learner."""
    from published_layout import write_published_layout

    from assay_api import Dataset
    from assay_data.ingest import build_dataset
    from assay_data.store import open_store

    if not setup.model.exists():
        small = {} if setup.on_gpu else {"width": 0.05, "depth": 0.1}
        device = "cuda" if setup.on_gpu else "cpu"
        write_published_layout(setup.model, **small, device=device)
    stage = {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "TrainingStage",
        "metadata": {"name": "gpu"},
        "spec": {
            "model": {"uri": setup.model.as_uri()},
            "dataset": "videos",
            "lora": {"rank": 16, "alpha": 32},
            "rl": {
                "steps": 2,
                "promptsPerStep": _PROMPTS,
                "groupSize": _GROUP_SIZE,
                "maxCompletionTokens": setup.completion_tokens,
                "optimizer": {"learningRate": 1e-3},
            },
            "rewards": [{"type": "Format"}, {"type": "Accuracy"}],
            "placement": {"microBatch": 1, "precision": "BFloat16"},
        },
    }
    source = {"synthetic": {"numVideos": 8, "widthPixels": setup.width_pixels}}
    dataset = {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "Dataset",
        "metadata": {"name": "videos"},
        "spec": {"source": source, "frames": {"count": 16, "fps": 4}},
    }
    setup.manifest.write_text(yaml.safe_dump_all([dataset, stage]))
    build_dataset(
        Dataset.model_validate(dataset), open_store(str(setup.work / "videos")), 2, lambda *_: None
    )
    return {}


def train(setup: Setup) -> dict[str, Any]:
    """Take two steps on made-up groups; return seconds and the learner's peak memory."""
    from safetensors.torch import save_file

    from assay_trainer.checkpoints import Position

    started = time.perf_counter()
    parts = build(setup)
    loaded = time.perf_counter()
    first = step(parts, seed=1)
    save_file(dict(parts.policy.exported_weights()), setup.adapters)
    saving = time.perf_counter()
    parts.checkpoints().save(Position(step=1, policy_version=1, cursor=_PROMPTS))
    saved = time.perf_counter()
    second = step(parts, seed=2)
    save_file(dict(parts.policy.exported_weights()), setup.trained)
    return {
        "load_seconds": loaded - started,
        "first_step_seconds": first["seconds"],
        "step_seconds": second["seconds"],
        "grad_norm": second["grad_norm"],
        "checkpoint_seconds": saved - saving,
        "checkpoint_bytes": sum(
            file.stat().st_size for file in (setup.work / "stage").rglob("*") if file.is_file()
        ),
        "adapter_bytes": setup.adapters.stat().st_size,
        "peak_bytes": peak_bytes(),
    }


def sample(setup: Setup) -> dict[str, Any]:
    """Draw rollouts under the checkpoint's adapters; return seconds and what the engine holds."""
    from safetensors.torch import load_file

    from assay_trainer.rollout.engine_config import EngineConfig
    from assay_trainer.rollout.sampler import SampleRequest, SamplingPlan
    from assay_trainer.rollout.vllm_engine import VllmSampler

    stage, dataset, text = question(setup)
    rl = stage.spec.rl
    started = time.perf_counter()
    sampler = VllmSampler(
        setup.model,
        EngineConfig(
            precision=stage.spec.placement.precision,
            max_model_length_tokens=2048 + setup.completion_tokens,
            max_sequences=256,
            lora=stage.spec.lora,
        ),
    )
    ready = time.perf_counter()
    sampler.load(load_file(setup.adapters), policy_version=1)
    synced = time.perf_counter()
    from assay_trainer.records import Clip

    rows = dataset.rows()[:_PROMPTS]
    requests = [
        SampleRequest(text, Clip(dataset.frames(row.row_id), row.sampled_fps), seed)
        for seed, row in enumerate(rows)
    ]
    plan = SamplingPlan(_GROUP_SIZE, rl.max_completion_tokens, rl.temperature)
    sampler.sample(requests, plan)  # The first call compiles, and fills caches.
    warm = time.perf_counter()
    groups = sampler.sample(requests, plan)
    done = time.perf_counter()
    drawn = [
        {"row": row.row_id, "rollouts": [asdict(sample.rollout) for sample in group]}
        for row, group in zip(rows, groups, strict=True)
    ]
    setup.rollouts.write_text(json.dumps(drawn))
    tokens = sum(len(sample.rollout.token_ids) for group in groups for sample in group)
    cache = sampler._llm.llm_engine.vllm_config.cache_config
    return {
        "start_seconds": ready - started,
        "load_adapters_seconds": synced - ready,
        "tokens_per_second": tokens / (done - warm),
        "cache_tokens": cache.num_gpu_blocks * cache.block_size,
        "held_bytes": held_bytes(),
    }


def resume(setup: Setup) -> dict[str, Any]:
    """Score the sampler's rollouts at the checkpoint, then repeat the second step."""
    from safetensors.torch import load_file

    from assay_trainer.families.batch import Completion

    parts = build(setup)
    parts.checkpoints().resume()
    _, _, text = question(setup)
    learner: list[float] = []
    sampler: list[float] = []
    for group in json.loads(setup.rollouts.read_text()):
        prompt = parts.encode(text, group["row"])
        for rollout in group["rollouts"]:
            (batch,) = parts.micro_batches([Completion(prompt, tuple(rollout["token_ids"]))])
            learner += parts.learner.score(batch).logprobs[0].tolist()
            sampler += rollout["sampler_logprobs"]
    step(parts, seed=2)
    uninterrupted, again = load_file(setup.trained), parts.policy.exported_weights()
    return {
        "mismatch": mismatch(learner, sampler),
        "prompt_tokens": len(prompt.token_ids),
        "max_difference": max(
            float((again[name].float() - tensor.float()).abs().max())
            for name, tensor in uninterrupted.items()
        ),
    }


def build(setup: Setup) -> Any:
    """Return the parts of the stage, as its learner builds them."""
    from assay_api import ResolvedModel, ResolvedStageJob
    from assay_trainer.loops.build_parts import build_parts

    stage = question(setup)[0]
    job = ResolvedStageJob(
        stage=stage,
        attempt=1,
        model=ResolvedModel(uri=str(setup.model)),
        dataset=str(setup.work / "videos"),
        output=str(setup.work / "stage"),
    )
    return build_parts(job, temperature=stage.spec.rl.temperature)


def question(setup: Setup) -> tuple[Any, Any, str]:
    """Return the stage, its dataset and its prompt."""
    from assay_api import ThinkingMode, TrainingStage
    from assay_data.dataset import ClipDataset
    from assay_data.store import open_store
    from assay_trainer.chat import detection_prompt

    _, written = yaml.safe_load_all(setup.manifest.read_text())
    stage = TrainingStage.model_validate(written)
    dataset = ClipDataset.open(open_store(str(setup.work / "videos")))
    return stage, dataset, detection_prompt(stage.spec.prompt, ThinkingMode.THINK)[0]


def step(parts: Any, *, seed: int) -> dict[str, Any]:
    """Take one step on groups of random tokens, half of them to be made likelier."""
    import torch

    from assay_api import ThinkingMode
    from assay_trainer.loops.policy_update import learn
    from assay_trainer.records import Rollout, RolloutGroup, ScoredGroup

    spec, rng = parts.stage.spec, torch.Generator().manual_seed(seed)
    length = spec.rl.max_completion_tokens
    groups = []
    for row in parts.dataset.rows()[:_PROMPTS]:
        ids = torch.randint(0, 100_000, (_GROUP_SIZE, length), generator=rng).tolist()
        # As likely to the sampler as any other token: importance weights stay below their cap.
        logprobs = (-math.log(100_000),) * length
        rollouts = tuple(Rollout(tuple(one), logprobs, "", False, 1) for one in ids)
        signs = tuple(float((-1) ** place) for place in range(_GROUP_SIZE))
        group = RolloutGroup(parts.prompts.item(row, ThinkingMode.THINK), rollouts)
        right = tuple(sign > 0 for sign in signs)
        groups.append(ScoredGroup(group, {}, signs, right, signs))
    started = time.perf_counter()
    metrics = learn(parts, spec.rl, groups)
    return {"seconds": time.perf_counter() - started, "grad_norm": metrics["grad_norm"]}


def mismatch(learner: list[float], sampler: list[float]) -> dict[str, Any]:
    """Return how far learner and sampler are apart on all sampled tokens, in nats.

    Example:
        >>> found = mismatch([-1.0, -1.0, -1.0, -1.0], [-1.0, -1.25, -0.75, -1.0])
        >>> found["mean_abs"], found["max"], found["histogram"]["0.25 to 0.5"]
        (0.125, 0.25, 2)
    """
    import torch

    from assay_trainer.loops.agreement import disagreement

    ours, theirs = torch.tensor([learner]), torch.tensor([sampler])
    found = disagreement(ours, theirs, torch.ones_like(ours, dtype=torch.bool), far_nats=math.inf)
    sizes = (ours - theirs).abs()[0].tolist()
    bars = {}
    for low, high in zip((0.0, *EDGES_NATS), (*EDGES_NATS, math.inf), strict=True):
        bars[f"{low:g} to {high:g}"] = sum(low <= size < high for size in sizes)
    return {
        "tokens": len(sizes),
        "mean_abs": found.total_nats / len(sizes),
        "rms": math.sqrt(fmean(size**2 for size in sizes)),
        "max": found.largest_nats,
        "kl": found.kl_nats / len(sizes),
        "histogram": bars,
    }


def plan(setup: Setup, device: dict[str, Any]) -> dict[str, Any]:
    """Return what `assay plan` says of the same stage on GPUs of this size, or without."""
    gpus = (
        {"gpusPerNode": 2, "gpuMemoryGib": device["memory_bytes"] / 2**30} if setup.on_gpu else {}
    )
    platform = {
        "store": {"url": "s3://assay/runs", "endpoint": "http://minio:9000", "port": 9000},
        "images": {"trainer": "assay-trainer", "data": "assay-data"},
        "accelerator": "Gpu" if setup.on_gpu else "Cpu",
        "cpuPool": "default",
        "nodePools": {"default": {"nodes": 1, "cpus": 16, "memoryGib": 128, "shmGib": 16, **gpus}},
    }
    pools = setup.work / "platform.yaml"
    pools.write_text(yaml.safe_dump(platform))
    command = [sys.executable, "-m", "assay_trainer.cli.main", "plan", "--json"]
    command += ["-f", str(setup.manifest), "--pools", str(pools), "--reserve-gib", "0"]
    told = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if not told.stdout:
        sys.exit(f"assay plan ended with exit code {told.returncode}")
    (stage,) = json.loads(told.stdout)["stages"]
    rollout = stage["rollout"] or {}
    return {
        "learner_bytes": stage["learner"]["neededBytes"],
        "sampler_bytes": rollout.get("budgetBytes"),
        "cache_tokens": rollout.get("cacheTokens"),
    }


def peak_bytes() -> int:
    """Return the most memory that this process had: of its GPU, or resident."""
    import resource

    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def held_bytes() -> int:
    """Return the memory that is used now: of the GPU by anybody, or resident."""
    import psutil
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return int(total - free)
    return int(psutil.Process().memory_info().rss)


def wrong(result: dict[str, Any]) -> list[str]:
    """Return what must not be so."""
    found = []
    if result["resume_max_difference"] > (1e-2 if result["device"]["gpu"] else 0.0):
        found.append(f"the resumed step differs by {result['resume_max_difference']:.1e}")
    if result["mismatch"]["mean_abs"] > 0.2:
        found.append(f"sampler and learner differ by {result['mismatch']['mean_abs']:.2f} nats")
    if not result["learner"]["grad_norm"]:
        found.append("the gradient is zero: nothing was learned")
    if (
        result["device"]["gpu"]
        and result["learner"]["peak_bytes"] > result["plan"]["learner_bytes"]
    ):
        found.append("the learner holds more than planned")
    return found


def as_text(result: dict[str, Any]) -> str:
    """Return the figures for people."""
    learner, sampler, planned = result["learner"], result["sampler"], result["plan"]
    size = result["model"]
    lines = [
        f"device     {result['device']['gpu'] or 'CPU'}, torch {result['device']['torch']}",
        f"model      hidden size {size['hidden_size']}, {size['layers']} layers, "
        f"{size['bytes'] / 1e9:.2f} GB; prompt {result['tokens']['prompt']}, completion "
        f"{result['tokens']['completion']} tokens",
        f"sampler    starts in {sampler['start_seconds']:.1f} s, takes adapters in "
        f"{sampler['load_adapters_seconds']:.2f} s, {sampler['tokens_per_second']:.0f} tokens/s",
        f"learner    loads in {learner['load_seconds']:.1f} s, a step takes "
        f"{learner['step_seconds']:.1f} s, a checkpoint {learner['checkpoint_seconds']:.1f} s "
        f"({learner['checkpoint_bytes'] / 2**20:.1f} MiB; adapters "
        f"{learner['adapter_bytes'] / 2**20:.1f} MiB)",
        f"memory     learner {_gib(learner['peak_bytes'])}, planned "
        f"{_gib(planned['learner_bytes'])}",
    ]
    if planned["sampler_bytes"] is not None:
        lines.append(
            f"           sampler {_gib(sampler['held_bytes'])}, planned "
            f"{_gib(planned['sampler_bytes'])}; cache {sampler['cache_tokens']:,} tokens, planned "
            f"{planned['cache_tokens']:,}"
        )
    found = result["mismatch"]
    lines += [
        f"mismatch   mean {found['mean_abs']:.4f}, RMS {found['rms']:.4f}, largest "
        f"{found['max']:.3f} nats; KL {found['kl']:.2e}; {found['tokens']} tokens",
        *(
            f"           {bar:>16} nats {count:7d}  {'#' * round(40 * count / found['tokens'])}"
            for bar, count in found["histogram"].items()
        ),
        f"resume     the repeated step differs by {result['resume_max_difference']:.1e} at most",
        *(f"seconds    {seconds:6.1f}  {name}" for name, seconds in result["seconds"].items()),
        *(f"wrong      {fault}" for fault in result["wrong"]),
    ]
    return "\n".join(lines)


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"


if __name__ == "__main__":
    sys.exit(main())
