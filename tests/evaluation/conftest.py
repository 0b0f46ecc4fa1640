"""A dataset of clips, and a detector that is played."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import pytest

from assay_api import Dataset, ThinkingMode
from assay_api.dataset import SyntheticSource
from assay_data.dataset import ClipDataset
from assay_data.ingest import build_dataset
from assay_data.store import open_store
from assay_data.synthetic import write_synthetic
from assay_trainer.answers import parse_answer
from assay_trainer.evaluation import answering
from assay_trainer.evaluation.detector import Detection
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
