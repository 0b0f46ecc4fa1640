"""The real model's layout through every stage: `python benchmarks/real_layout.py --store DIR`.

A random model in the layout of Qwen2.5-VL-7B-Instruct at a tenth of its width, with Qwen's own
tokenizer, prompts of 1,400 tokens (16 frames of 364 x 364), BFloat16, LoRA, two learners and two
engines, on CPUs, by the product's own commands. Prints, for `docs/measurements/real-model.md`, time
and memory of each process, bytes synced and saved, and how far sampler and learner differ.

A random model does not keep to the answer format, so no group of RL would be usable. Two stages
teach it first, all weights, one of four fixed answers each time: it learns to write the format, and
to guess. `format` has small frames of the same videos, because a step of that costs little;
`format-long` goes on with the frames of the recipe, because what was learned after a short prompt
is lost after a long one. What the model is worth says nothing.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from memory import read_pss
from published_layout import write_published_layout

ASSAY = (sys.executable, "-m", "assay_trainer.cli.main")
PREPARING = ("format", "format-long")
ROLES = {
    "ray::RolloutEngine": "engine",
    "VLLM::": "engine",
    "vllm.entrypoints": "server",
    "ray::RayTrainWorker": "learner",
    "assay_trainer.cli.main": "assay",
}
"""Who a process is, by a part of its name."""
QUESTION = "Is this video real or fake? A) real B) fake"
REASONS = ("It is smooth.", "The light is steady.")
VIDEOS = 12
_SECONDS_BETWEEN_READINGS = 2.0
_SERVER_DEADLINE_SECONDS = 900.0
_SERVED = "detector"
_DIFFERENCES = (
    "logprob/canary_difference",
    "logprob/max_difference",
    "logprob/mean_difference",
    "logprob/kl",
    "logprob/far_tokens",
)


@dataclass
class Step:
    """One command, and what was measured of it."""

    name: str
    seconds: float
    peak: Mapping[str, int]
    """Bytes of PSS by process, when all together were the most."""
    numbers: dict[str, Any] = field(default_factory=dict)


def main() -> int:
    """Take all steps; in a store in which some are done, the rest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True, help="folder of the run")
    parser.add_argument("--width", type=float, default=0.1, help="of 7B's width (default 0.1)")
    parser.add_argument("--depth", type=float, default=1.0, help="of 7B's layers (default 1)")
    parser.add_argument("--format-steps", type=int, default=50, help="steps of the stage format")
    parser.add_argument("--long-steps", type=int, default=40, help="steps of format-long")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    store = arguments.store.absolute()
    prepare(store, arguments.width, arguments.depth)
    steps = []
    for name, documents in manifests(store, arguments.format_steps, arguments.long_steps).items():
        path = store / "manifests" / f"{name}.yaml"
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
        earlier = [str(file) for file in (store / "manifests").glob("*.yaml")]
        files = [part for file in earlier for part in ("-f", file)]
        steps.append(once(store, name, partial(run_stage, store, name, files)))
    model = str(store / "run/stages/advanced/model")
    videos = sorted(str(path) for path in (store / "videos").rglob("*.mp4"))[:2]
    detect = [*ASSAY, "detect", *videos, "--model", model, "--max-tokens", "48"]
    steps.append(once(store, "detect", partial(measured, "detect", detect)))
    steps.append(once(store, "serve", partial(serve, model)))
    print(as_json(steps) if arguments.json else as_text(steps))
    return 0


def prepare(store: Path, width: float, depth: float) -> None:
    """Write the model, and videos with answers to learn the format from."""
    shutil.rmtree(store / "manifests", ignore_errors=True)
    (store / "manifests").mkdir(parents=True)
    if not (store / "base").exists():
        write_published_layout(store / "making", width=width, depth=depth)
        (store / "making").rename(store / "base")
    videos = store / "videos"
    if not (videos / "lessons.json").exists():
        size = ["--videos", str(VIDEOS), "--width-pixels", "384"]
        subprocess.run([*ASSAY, "data", "render", str(videos), *size], check=True)
    answers = [
        {
            "task": "Format",
            "prompt": "",
            "response": f"<think>{reason}</think><answer>{letter}</answer>",
        }
        for reason in REASONS
        for letter in "AB"
    ]
    rng = random.Random(0)
    lessons = {
        str(path.relative_to(videos)): {"examples": rng.sample(answers, len(answers))}
        for path in sorted(videos.rglob("*.mp4"))
    }
    (videos / "lessons.json").write_text(json.dumps(lessons))


def manifests(store: Path, format_steps: int, long_steps: int) -> dict[str, list[dict[str, Any]]]:
    """Return the resources of each step, by the name of the last of them."""
    adapters = {"rank": 16, "alpha": 32}
    linear = {"schedule": "Linear", "warmupSteps": 5}
    rl = {
        "steps": 2,
        "promptsPerStep": 2,
        "groupSize": 4,
        "maxCompletionTokens": 48,
        "maxSamplingRounds": 3,
        "optimizer": {"learningRate": 1e-4},
        "validation": {"every": 2, "maxClips": 2},
    }
    rewards = [{"type": "Format"}, {"type": "Accuracy"}]
    rewards.append({"type": "Overlong", "maxTokens": 48, "bufferTokens": 12})
    fusion = {
        "samplesPerClip": 16,
        "maxExamples": 8,
        "maxCompletionTokens": 48,
        "steps": 2,
        "examplesPerStep": 4,
    }
    advanced = {**rl, "modes": ["Think", "NoThink"], "groupFilter": "Reward"}
    return {
        "format": [
            dataset(store, "small", {"count": 4, "sampling": "Whole", "maxPixels": 3136}),
            stage(
                "format",
                {"uri": (store / "base").as_uri()},
                "small",
                microBatch=8,
                sft=examples(format_steps, 8, learningRate=1e-3, **linear),
            ),
        ],
        "format-long": [
            dataset(store, "clips", {"count": 16, "fps": 4, "maxPixels": 147456}),
            stage(
                "format-long",
                after("format"),
                "clips",
                sft=examples(long_steps, 2, learningRate=1e-3, **linear),
            ),
        ],
        "foundation": [
            stage(
                "foundation", after("format-long"), "clips", rl=rl, rewards=rewards, lora=adapters
            ),
        ],
        "fusion": [stage("fusion", after("foundation"), "clips", fusion=fusion, lora=adapters)],
        "advanced": [
            stage(
                "advanced",
                after("fusion"),
                "clips",
                rl=advanced,
                rewards=[*rewards, {"type": "ModeFollowed"}],
                lora=adapters,
            )
        ],
        "evaluation": [
            resource(
                "Evaluation",
                "held-out",
                {
                    "model": after("advanced"),
                    "dataset": "clips",
                    "maxClips": 2,
                    "maxCompletionTokens": 48,
                    "precision": "BFloat16",
                },
            )
        ],
    }


def examples(steps: int, per_step: int, **optimizer: Any) -> dict[str, Any]:
    """Return the method of a stage that learns the answer format."""
    return {
        "task": "Format",
        "steps": steps,
        "examplesPerStep": per_step,
        "optimizer": {"beta2": 0.95, **optimizer},
    }


def resource(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest."""
    return {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": dict(spec),
    }


def dataset(store: Path, name: str, frames: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dataset of the videos."""
    source = {"folder": {"uri": (store / "videos").as_uri()}}
    return resource(
        "Dataset",
        name,
        {"source": source, "frames": dict(frames), "split": {"testFraction": 0.34}},
    )


def stage(
    name: str, model: Mapping[str, str], clips: str, *, microBatch: int = 1, **method: Any
) -> dict[str, Any]:
    """Return a stage with two learners and two engines."""
    spread = {"learners": 2, "precision": "BFloat16", "microBatch": microBatch}
    if "sft" not in method:
        spread["rollouts"] = 2
    return resource(
        "TrainingStage",
        name,
        {
            "model": dict(model),
            "dataset": clips,
            **method,
            "placement": spread,
            "checkpoint": {"every": 1 if "sft" not in method else 20, "keep": 1},
        },
    )


def after(name: str) -> dict[str, str]:
    """Return the model of an earlier stage."""
    return {"fromStage": name}


def once(store: Path, name: str, take: Callable[[], Step]) -> Step:
    """Take a step, or return what was measured of it by an earlier run in the same store."""
    path = store / "measured" / f"{name}.json"
    if path.exists():
        return Step(**json.loads(path.read_text()))
    step = take()
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(step)))
    return step


def run_stage(store: Path, name: str, files: Sequence[str]) -> Step:
    """Run the manifests; those before the last are done."""
    step = measured(name, [*ASSAY, "run", *files, "--store", str(store / "run")])
    step.numbers = numbers_of(store / "run" / "stages" / name)
    return step


def measured(name: str, command: Sequence[str]) -> Step:
    """Run a command to its end, reading its processes' memory.

    Raises:
        CalledProcessError: it failed.
    """
    print(f"real_layout: {name}", file=sys.stderr)
    started = time.monotonic()
    with subprocess.Popen(command) as process:
        peak = watch(process.pid, lambda: process.poll() is None)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Step(name, time.monotonic() - started, peak)


def watch(pid: int, lives: Callable[[], bool]) -> dict[str, int]:
    """Return the memory of a process and its descendants when it was the most."""
    peak: dict[str, int] = {}
    while lives():
        try:
            now = read_pss(psutil.Process(pid))
        except psutil.NoSuchProcess:
            break
        if sum(now.values()) > sum(peak.values()):
            peak = now
        time.sleep(_SECONDS_BETWEEN_READINGS)
    return peak


def serve(model: str) -> Step:
    """Serve the model, ask it once, and end it."""
    port = 18_400 + random.randrange(1000)
    options = ["--dtype", "bfloat16", "--max-model-len", "2048"]
    command = [*ASSAY, "serve", "--model", model, "--port", str(port), *options]
    url, started = f"http://127.0.0.1:{port}/v1", time.monotonic()
    body = {
        "model": _SERVED,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 48,
    }
    with subprocess.Popen([*command, "--gpu-memory-utilization", "0.1"]) as process:
        peak: dict[str, int] = {}
        reader = threading.Thread(
            target=lambda: peak.update(watch(process.pid, lambda: process.poll() is None))
        )
        reader.start()
        try:
            await_server(url, process)
            ready = time.monotonic() - started
            answer = httpx.post(f"{url}/chat/completions", json=body, timeout=600).json()
            text = answer["choices"][0]["message"]["content"]
        finally:
            process.terminate()
            process.wait(60)
        reader.join()
    return Step("serve", time.monotonic() - started, peak, {"ready_seconds": ready, "said": text})


def await_server(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers.

    Raises:
        RuntimeError: it ended, or took too long.
    """
    deadline = time.monotonic() + _SERVER_DEADLINE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{url}/models", timeout=5).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(1)
    raise RuntimeError(f"{url} does not answer; exit code {process.poll()}")


def numbers_of(folder: Path) -> dict[str, Any]:
    """Return what a stage has recorded and published, as far as there is any."""
    steps = [json.loads(path.read_text()) for path in sorted(folder.glob("metrics/step-*.json"))]
    found: dict[str, Any] = {
        name: [step[name] for step in steps if name in step] for name in _DIFFERENCES
    }
    found["loss"] = [step["loss"] for step in steps if "loss" in step]
    found["well_formed"] = [
        value for step in steps for name, value in step.items() if "well_formed" in name
    ]
    found["step_seconds"] = [step.get("time/step_seconds") for step in steps]
    found["checkpoint_bytes"] = size(folder / "checkpoints")
    found["adapter_bytes"] = size(folder / "model/adapter")
    found["model_bytes"] = size(folder / "model") - found["adapter_bytes"]
    return {name: value for name, value in found.items() if value}


def size(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def as_json(steps: Sequence[Step]) -> str:
    """Return all that was measured."""
    return json.dumps([asdict(step) for step in steps], indent=1)


def as_text(steps: Sequence[Step]) -> str:
    """Return the tables of the page of measurements; the stages before foundation only prepare."""
    lines = [
        "| step | seconds | memory at the peak, GiB | of which, MiB |",
        "|---|---|---|---|",
    ]
    for step in steps:
        if step.name in PREPARING:
            continue
        total = sum(step.peak.values()) / 2**30
        lines.append(f"| {step.name} | {step.seconds:.0f} | {total:.1f} | {shares(step.peak)} |")
    for step in steps:
        lines += ["", f"{step.name}:"]
        lines += [f"- {name}: {value}" for name, value in step.numbers.items()]
    return "\n".join(lines)


def shares(peak: Mapping[str, int]) -> str:
    """Return the memory of each process that there is a role for, and of all others together."""
    by_role: dict[str, list[int]] = {}
    for name, size in sorted(peak.items(), key=lambda row: -row[1]):
        role = next((said for mark, said in ROLES.items() if mark in name), "the rest")
        by_role.setdefault(role, []).append(size >> 20)
    rest = sum(by_role.pop("the rest", []))
    named = [f"{role} {' + '.join(map(str, sizes))}" for role, sizes in by_role.items()]
    return ", ".join([*named, f"the rest {rest}"])


if __name__ == "__main__":
    sys.exit(main())
