import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

# As the command line does, before torch is loaded: threads that wait do not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import av
import numpy as np
import pytest

from assay_api import (
    Dataset,
    ResolvedModel,
    ResolvedStageJob,
    ScratchModel,
    ThinkingMode,
    TrainingStage,
)
from assay_api.prompt import Prompt
from assay_api.stage import Lora
from assay_data.dataset import ClipDataset
from assay_data.ingest import build_dataset
from assay_data.store import open_store
from assay_trainer.chat import detection_prompt
from assay_trainer.families.batch import Completion
from assay_trainer.loops.build_parts import build_parts
from assay_trainer.loops.parts import StageParts
from assay_trainer.loops.ray_cluster import ray_cluster
from assay_trainer.models.scratch import make_scratch_model
from assay_trainer.rollout.engine_actor import PoolConfig
from assay_trainer.rollout.engine_config import EngineConfig
from assay_trainer.rollout.engine_owner import EngineOwner, LocalEngineOwner
from assay_trainer.rollout.pool import RolloutPool
from assay_trainer.rollout.sampler import ClipRequest

QUESTION = "Real or fake? A) real B) fake"
CLIP_SECONDS = (5, 20, 60)
SIZES = {"hiddenSize": 64, "numLayers": 2, "numHeads": 2, "numKvHeads": 1}
SIZES |= {"visionHiddenSize": 32, "visionDepth": 2}
REASONING = ("It is smooth.", "The light is steady.")
LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Orders:
    """Writes the orders of stages that start from one model and learn from one dataset."""

    dataset: Path
    model: Path | None

    def __call__(self, output: Path, spec: Mapping[str, Any]) -> ResolvedStageJob:
        source = {"scratch": SIZES} if self.model is None else {"uri": str(self.model)}
        placement = {"precision": "Float32", "microBatch": 4} | spec.get("placement", {})
        written = {
            "model": source,
            "dataset": "clips",
            "prompt": {"question": QUESTION},
            **spec,
            "placement": placement,
        }
        return ResolvedStageJob(
            stage=TrainingStage.model_validate({"metadata": {"name": "stage"}, "spec": written}),
            attempt=1,
            model=None if self.model is None else ResolvedModel(uri=str(self.model)),
            dataset=str(self.dataset),
            output=str(output),
        )


def rl_spec(**changes: Any) -> dict[str, Any]:
    method = {
        "steps": 3,
        "promptsPerStep": 3,
        "groupSize": 4,
        "maxCompletionTokens": 24,
        "maxSamplingRounds": 2,
        "logprobTolerance": 1e-4,
        "optimizer": {"learningRate": 1e-3},
        "validation": {"every": 2, "maxClips": 2},
    }
    return {"rl": method | changes, "rewards": [{"type": "Format"}, {"type": "Accuracy"}]}


def sft_spec(**changes: Any) -> dict[str, Any]:
    method = {"task": "Describe", "steps": 4, "examplesPerStep": 4}
    return {"sft": {**method, "optimizer": {"learningRate": 1e-3}, **changes}}


def write_video(path: Path, seconds: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(4))
        stream.width = stream.height = 56
        stream.pix_fmt = "yuv420p"
        for _ in range(seconds * 4):
            block = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
            frame = block.repeat(14, axis=0).repeat(14, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def write_sources(folder: Path) -> None:
    """Write six real and six fake videos; each has examples with both answers."""
    examples = [
        {
            "task": "Describe",
            "prompt": "",
            "response": f"<think>{text}</think><answer>{letter}</answer>",
        }
        for text in REASONING
        for letter in "AB"
    ]
    entries = {}
    for number in range(12):
        name = f"{('real', 'fake/noise')[number % 2]}/{number}.mp4"
        write_video(folder / name, CLIP_SECONDS[number // 2 % 3], seed=number)
        entries[name] = {"examples": examples}
    (folder / "lessons.json").write_text(json.dumps(entries))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of clips of 16 frames over 5, 20 and 60 seconds."""
    videos, folder = tmp_path_factory.mktemp("videos"), tmp_path_factory.mktemp("dataset")
    write_sources(videos)
    spec = {
        "source": {"folder": {"uri": str(videos)}},
        "frames": {"count": 16, "sampling": "Whole"},
        "split": {"testFraction": 0.34},
    }
    resource = Dataset.model_validate({"metadata": {"name": "clips"}, "spec": spec})
    build_dataset(resource, open_store(str(folder)), 1, lambda done, total: None)
    return folder


@pytest.fixture(scope="session")
def scratch_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Qwen2.5-VL with random weights."""
    folder = tmp_path_factory.mktemp("scratch")
    texts = [QUESTION, "/think /no_think <|im_start|>user assistant", *REASONING]
    make_scratch_model(ScratchModel.model_validate(SIZES), texts, folder)
    return folder


@pytest.fixture(scope="session")
def run_stage(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.Popen[str]]:
    """Start `assay train` with some orders in a process of its own, as its own group."""
    folder = tmp_path_factory.mktemp("orders")

    def start(job: ResolvedStageJob) -> subprocess.Popen[str]:
        path = folder / f"{len(list(folder.iterdir()))}.json"
        path.write_text(job.model_dump_json(by_alias=True))
        return subprocess.Popen(
            [sys.executable, "-m", "assay_trainer.cli.main", "train", "--stage", str(path)],
            env=unlaunched(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


def unlaunched(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what a launcher tells its ranks."""
    return {name: value for name, value in environment.items() if name not in LAUNCHER}


@pytest.fixture(scope="session")
def speaking_model(
    dataset: Path,
    run_stage: Callable[..., subprocess.Popen[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A small model that keeps to the answer format and answers at random."""
    output = tmp_path_factory.mktemp("speaking")
    optimizer = {"learningRate": 5e-3, "schedule": "Linear", "warmupSteps": 5, "beta2": 0.95}
    spec = {
        **sft_spec(steps=50, examplesPerStep=8, optimizer=optimizer),
        "freezeVisionTower": False,
        "placement": {"microBatch": 8},
        "checkpoint": {"every": 1000},
    }
    with run_stage(Orders(dataset, None)(output, spec)) as process:
        log = process.communicate()[0]
    assert process.returncode == 0, log
    return output / "model"


@pytest.fixture(scope="session")
def rl() -> Callable[..., dict[str, Any]]:
    """Write the method of an RL stage, with changes."""
    return rl_spec


@pytest.fixture(scope="session")
def sft() -> Callable[..., dict[str, Any]]:
    """Write the method of an SFT stage, with changes."""
    return sft_spec


@pytest.fixture(scope="session")
def make_orders() -> Callable[[Path, Path | None], Orders]:
    return Orders


@pytest.fixture
def orders(dataset: Path, scratch_model: Path) -> Orders:
    return Orders(dataset, scratch_model)


@pytest.fixture
def make_parts(orders: Orders, tmp_path: Path) -> Iterator[Callable[..., StageParts]]:
    """Build the parts of a stage in this process; afterwards the environment is as before."""
    before = dict(os.environ)
    os.environ["LOCAL_RANK"] = "0"

    def build(**spec: Any) -> StageParts:
        job = orders(tmp_path / "stage", rl_spec() | spec)
        assert job.stage.spec.rl is not None
        return build_parts(job, temperature=job.stage.spec.rl.temperature)

    yield build
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def draw_completions() -> Callable[..., list[Completion]]:
    """Draw random completions of these lengths, each in turn about the next of all clips."""

    def draw(parts: StageParts, lengths: Sequence[int], *, per_clip: int = 1) -> list[Completion]:
        rng = np.random.default_rng(len(lengths))
        text, _ = detection_prompt(parts.stage.spec.prompt, ThinkingMode.THINK)
        rows = parts.dataset.rows()[: math.ceil(len(lengths) / per_clip)]
        prompts = [parts.encode(text, row.row_id) for row in rows]
        return [
            Completion(prompts[index // per_clip], tuple(rng.integers(0, 250, length).tolist()))
            for index, length in enumerate(lengths)
        ]

    return draw


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A Ray cluster in processes of this machine."""
    launched = {name: os.environ.pop(name) for name in LAUNCHER if name in os.environ}
    with ray_cluster(8):
        os.environ.update(launched)
        yield


@pytest.fixture(scope="session")
def make_pool(cluster: None, dataset: Path, scratch_model: Path) -> Callable[..., RolloutPool]:
    """Start rollout engines on the scratch model, and wait for them."""

    def start(
        *,
        num_engines: int = 1,
        lora: Lora | None = None,
        precision: str = "Float32",
        owner: Callable[[PoolConfig], EngineOwner] = LocalEngineOwner,
        **changes: Any,
    ) -> RolloutPool:
        engine = EngineConfig(
            precision=precision,
            max_model_length_tokens=512,
            max_sequences=64,
            lora=lora,
            memory_fraction=0.1,
        )
        plan = {"model": str(scratch_model), "dataset": str(dataset), "num_engines": num_engines}
        plan |= {"engine": engine, "threads_per_engine": 1, "num_gpus_per_engine": 0}
        config = PoolConfig(**plan | changes)
        pool = RolloutPool(config, owner(config))
        pool.wait_ready()
        return pool

    return start


@pytest.fixture(scope="session")
def ask() -> Callable[[ClipDataset], list[ClipRequest]]:
    """Ask about all clips of a dataset, each with a seed of its own."""

    def requests(dataset: ClipDataset) -> list[ClipRequest]:
        text, _ = detection_prompt(Prompt(question=QUESTION), ThinkingMode.THINK)
        return [
            ClipRequest(text, row.row_id, seed=1000 * place)
            for place, row in enumerate(dataset.rows())
        ]

    return requests


def pytest_itemcollected(item: pytest.Item) -> None:
    """Every test here runs engines, whose imports warn of torch's own deprecations."""
    item.add_marker(pytest.mark.engine)
    item.add_marker(
        pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
    )
