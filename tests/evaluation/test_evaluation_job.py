import json
from pathlib import Path

import numpy as np
import pytest

from assay_api import Evaluation, ResolvedEvaluationJob, ResolvedModel, Split, ThinkingMode
from assay_data.dataset import ClipDataset
from assay_trainer.evaluation import evaluation_job
from assay_trainer.evaluation.evaluation_job import run_evaluation_job
from assay_trainer.records import Clip


def test_the_detector_is_asked_about_every_row_in_order_in_each_mode(
    dataset: ClipDataset,
    clips_url: str,
    asked: list[tuple[ThinkingMode, list[Clip]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation_job, "model_folder", Path)
    spec = {"model": {"fromStage": "s"}, "dataset": "clips", "split": "Train"}
    job = ResolvedEvaluationJob(
        evaluation=Evaluation.model_validate({"metadata": {"name": "e"}, "spec": spec}),
        model=ResolvedModel(uri="model", digest="m"),
        dataset=clips_url,
        output=str(tmp_path / "out"),
    )

    summary = run_evaluation_job(job)

    assert summary is not None
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


def test_a_model_of_which_no_digest_is_known_has_a_result_too(
    dataset: ClipDataset,
    clips_url: str,
    asked: list[tuple[ThinkingMode, list[Clip]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation_job, "model_folder", Path)
    spec = {"model": {"uri": "model"}, "dataset": "clips", "maxClips": 2}
    run_evaluation_job(
        ResolvedEvaluationJob(
            evaluation=Evaluation.model_validate({"metadata": {"name": "e"}, "spec": spec}),
            model=ResolvedModel(uri="model"),
            dataset=clips_url,
            output=str(tmp_path / "out"),
        )
    )
    assert json.loads((tmp_path / "out/result.json").read_text())["modelDigest"] is None
    assert json.loads((tmp_path / "out/completion.json").read_text())["digest"] == ""
