"""A dataset of clips, and a detector that is played."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from made_clips import numbered_frames, publish_rows
from played_detector import PlayedFamily, write_played_model
from played_evaluation import ROWS, Evaluate, PlayedEngine

from assay_api import Dataset, Evaluation, ResolvedEvaluationJob, ResolvedModel, ThinkingMode
from assay_api.dataset import SyntheticSource
from assay_api.prompt import Prompt
from assay_data.dataset import ClipDataset, ClipRow
from assay_data.ingest import build_dataset
from assay_data.store import open_store
from assay_data.synthetic import write_synthetic
from assay_trainer.answers.letter import parse_answer
from assay_trainer.evaluation import answering, detector
from assay_trainer.evaluation.detector import Detection
from assay_trainer.evaluation.evaluation_job import run_evaluation_job
from assay_trainer.evaluation.summary import Summary
from assay_trainer.records import Clip
from assay_trainer.rollout.prompt_length import ClipSize


@pytest.fixture(scope="session")
def clips_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of 16 short clips."""
    tmp_path = tmp_path_factory.mktemp("dataset")
    source = SyntheticSource(num_videos=16, width_pixels=56, seconds=2)
    write_synthetic(source, tmp_path / "videos", 1, lambda done, total: None)
    resource = Dataset.model_validate(
        {
            "metadata": {"name": "clips"},
            "spec": {
                "source": {"folder": {"uri": str(tmp_path / "videos")}},
                "frames": {"count": 4, "fps": 2.0},
            },
        }
    )
    store = open_store(str(tmp_path / "clips"))
    build_dataset(resource, store, 1, lambda done, total: None)
    return store.url


@pytest.fixture
def dataset(clips_url: str) -> ClipDataset:
    return ClipDataset.open(open_store(clips_url))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ThinkingMode, list[Clip]]]:
    """What a detector is asked that says fake of every clip."""
    calls: list[tuple[ThinkingMode, list[Clip]]] = []

    class Detector:
        def __init__(
            self,
            folder: Path,
            sizes: Iterable[ClipSize],
            *,
            precision: str,
            max_completion_tokens: int,
            prompt: Prompt | None,
        ) -> None:
            pass

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *exception: object) -> None:
            pass

        def detect(self, clips: Sequence[Clip], mode: ThinkingMode) -> list[Detection]:
            calls.append((mode, list(clips)))
            text = "<think>so</think><answer>B</answer>"
            return [Detection(mode, text, parse_answer(text), 0.9, 7) for _ in clips]

    monkeypatch.setattr(answering, "Detector", Detector)
    monkeypatch.setattr(answering, "_CLIPS_AT_A_TIME", 5)
    return calls


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> PlayedEngine:
    played = PlayedEngine()
    module = SimpleNamespace(VllmSampler=played.open)
    monkeypatch.setitem(sys.modules, "assay_trainer.rollout.vllm_engine", module)
    monkeypatch.setattr(detector, "family_of", lambda folder: PlayedFamily())
    return played


@pytest.fixture
def evaluate(engine: PlayedEngine, tmp_path: Path) -> Evaluate:
    """Evaluate a model on these rows, by a spec with changes."""
    model = write_played_model(tmp_path / "model")

    def run(rows: tuple[ClipRow, ...] = ROWS, **changes: Any) -> Summary:
        spec = {
            "model": {"fromStage": "s"},
            "dataset": "clips",
            "maxCompletionTokens": 40,
            "bootstrapSamples": 500,
        }
        summary = run_evaluation_job(
            ResolvedEvaluationJob(
                evaluation=Evaluation.model_validate(
                    {"metadata": {"name": "e"}, "spec": spec | changes}
                ),
                model=ResolvedModel(uri=str(model), digest="m"),
                dataset=publish_rows(tmp_path, rows, frames=numbered_frames).url,
                output=str(tmp_path / "out"),
            )
        )
        assert summary is not None and engine.is_closed
        return summary

    return run
