import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from assay_api import Dataset, Evaluation, ResolvedEvaluationJob, ResolvedModel, Split, ThinkingMode
from assay_api.dataset import SyntheticSource
from assay_data.dataset import ClipDataset
from assay_data.ingest import build_dataset
from assay_data.store import open_store
from assay_data.synthetic import write_synthetic
from assay_trainer.answers import parse_answer
from assay_trainer.evaluation import answering, evaluation_job
from assay_trainer.evaluation.detector import Detection
from assay_trainer.evaluation.evaluation_job import run_evaluation_job
from assay_trainer.records import Clip


@pytest.fixture
def dataset(tmp_path: Path) -> ClipDataset:
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
    return ClipDataset.open(store)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ThinkingMode, list[Clip]]]:
    """What a detector is asked that says fake of every clip."""
    calls: list[tuple[ThinkingMode, list[Clip]]] = []

    class Detector:
        def __init__(self, folder: Path, *, precision: str, max_completion_tokens: int) -> None:
            pass

        def detect(self, clips: Sequence[Clip], mode: ThinkingMode) -> list[Detection]:
            calls.append((mode, list(clips)))
            text = "<think>so</think><answer>B</answer>"
            return [Detection(mode, text, parse_answer(text), 0.9, 7) for _ in clips]

    monkeypatch.setattr(answering, "Detector", Detector)
    monkeypatch.setattr(evaluation_job, "model_folder", Path)
    monkeypatch.setattr(answering, "_CLIPS_AT_A_TIME", 5)
    return calls


def test_the_detector_is_asked_about_every_row_in_order_in_each_mode(
    dataset: ClipDataset, asked: list[tuple[ThinkingMode, list[Clip]]], tmp_path: Path
) -> None:
    spec = {"model": {"fromStage": "s"}, "dataset": "clips", "split": "Train"}
    job = ResolvedEvaluationJob(
        evaluation=Evaluation.model_validate({"metadata": {"name": "e"}, "spec": spec}),
        model=ResolvedModel(uri="model", digest="m"),
        dataset=str(tmp_path / "clips"),
        output=str(tmp_path / "out"),
    )

    summary = run_evaluation_job(job)

    rows = dataset.rows(Split.TRAIN)
    modes = job.evaluation.spec.modes
    assert [mode for mode, _ in asked] == [mode for mode in modes for _ in range(0, len(rows), 5)]
    for mode in modes:
        clips = [clip for in_mode, batch in asked if in_mode is mode for clip in batch]
        assert [clip.fps for clip in clips] == [row.sampled_fps for row in rows]
        for clip, row in zip(clips, rows, strict=True):
            assert np.array_equal(clip.frames, dataset.frames(row.row_id))
    share_fake = sum(row.label == "fake" for row in rows) / len(rows)
    assert all(s.accuracy.value == share_fake for s in summary.modes.values())
    assert json.loads((tmp_path / "out/completion.json").read_text())["digest"] == "m"
