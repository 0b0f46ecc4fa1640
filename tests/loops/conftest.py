from collections.abc import Callable
from typing import Any

import pytest
from made_clips import clip_row, publish_rows

from assay_api import ResolvedStageJob

QUESTION = "Real?"


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a dataset of four real and four fake clips to train on, and as many held out."""
    rows = [
        clip_row(f"{split}-{label}{number}".lower(), split=split, label=label, generator=label)
        for split in ("Train", "Test")
        for label in ("real", "fake")
        for number in range(4)
    ]
    return publish_rows(tmp_path_factory.mktemp("clips"), rows).url


@pytest.fixture(scope="session")
def played_orders(
    clips: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., ResolvedStageJob]:
    """Write the orders of a new stage on those clips: its method and what else its spec has."""

    def write(**spec: Any) -> ResolvedStageJob:
        written = {"model": {"uri": "m"}, "dataset": "clips", "prompt": {"question": QUESTION}}
        written |= {"placement": {"precision": "Float32"}}
        stage = {"metadata": {"name": "played", "uid": "u"}, "spec": written | spec}
        orders = {"stage": stage, "attempt": 1, "model": {"uri": "m"}, "dataset": clips}
        return ResolvedStageJob.model_validate(
            orders | {"output": str(tmp_path_factory.mktemp("stage"))}
        )

    return write
