"""What identifies finished work, and what may change without redoing it."""

import pytest

from assay_api.digest import evaluation_digest, stage_digest
from assay_api.evaluation import EvaluationSpec
from assay_api.stage import TrainingStageSpec

STAGE = {
    "model": {"uri": "./m"},
    "dataset": "clips",
    "sft": {"task": "Judge", "steps": 4},
}


def digest(**changes: object) -> str:
    spec = TrainingStageSpec.model_validate({**STAGE, **changes})
    return stage_digest(spec, "model-digest", "dataset-digest")


@pytest.mark.parametrize(
    "change",
    [
        {"retry": {"application": 3}},
        {"suspend": True},
        {"checkpoint": {"every": 3}},
        {"placement": {"pool": "other"}},
        {"gate": [{"evaluation": "before", "minAccuracy": 0.5}]},
        {"seed": 0},
    ],
)
def test_when_and_where_a_stage_runs_does_not_identify_it(change: dict[str, object]) -> None:
    assert digest(**change) == digest()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"sft": {"task": "Judge", "steps": 5}},
        {"placement": {"learners": 2}},
        {"freezeVisionTower": False},
    ],
)
def test_what_is_trained_identifies_a_stage(change: dict[str, object]) -> None:
    assert digest(**change) != digest()


def test_inputs_identify_a_stage() -> None:
    spec = TrainingStageSpec.model_validate(STAGE)
    found = {stage_digest(spec, model, data) for model in ("m", None) for data in ("d", "e")}
    assert len(found) == 4


def test_the_schedule_does_not_identify_an_evaluation() -> None:
    plain = EvaluationSpec.model_validate({"model": {"uri": "./m"}, "dataset": "clips"})
    nightly = plain.model_copy(update={"schedule": "0 3 * * *"})
    assert evaluation_digest(plain, "m", "d") == evaluation_digest(nightly, "m", "d")
    assert evaluation_digest(plain, "m", "d") != evaluation_digest(plain, "n", "d")
