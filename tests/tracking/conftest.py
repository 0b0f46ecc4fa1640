from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay_api import ResolvedModel, ResolvedStageJob, TrainingStage
from assay_api.tracking import Tracker


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., ResolvedStageJob]:
    """Write the orders of a stage with these trackers."""

    def job(*trackers: Tracker) -> ResolvedStageJob:
        spec: dict[str, Any] = {
            "model": {"uri": "file:///model"},
            "dataset": "clips",
            "sft": {"task": "Describe", "steps": 9},
            "tracking": [tracker.model_dump() for tracker in trackers],
        }
        return ResolvedStageJob(
            stage=TrainingStage.model_validate({"metadata": {"name": "base"}, "spec": spec}),
            attempt=1,
            model=ResolvedModel(uri="file:///model"),
            dataset="file:///clips",
            output=str(tmp_path / "stage"),
        )

    return job


def pytest_itemcollected(item: pytest.Item) -> None:
    """The trackers' own libraries, and TensorBoard's, warn of what is deprecated elsewhere."""
    item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))
    item.add_marker(pytest.mark.filterwarnings("ignore::FutureWarning"))
    item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
