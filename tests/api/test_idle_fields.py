"""A field that does nothing beside what else a resource says is refused, not ignored."""

from typing import Any

import pytest
from pydantic import ValidationError

from assay_api.answers import Answer
from assay_api.base import Model
from assay_api.dataset import FolderSource, FramePlan, SplitPlan
from assay_api.reward_model import RewardModelSpec
from assay_api.rewards import Reward
from assay_api.stage import Rl, TrainingStageSpec

JUDGE = {"endpoint": {"url": "http://judge/v1", "model": "judge"}}
SFT = {"model": {"uri": "m"}, "dataset": "clips", "sft": {"task": "Describe", "steps": 1}}
WHOLE = {"sampling": "Whole"}


@pytest.mark.parametrize(
    ("model", "spec", "idle", "told"),
    [
        (Reward, {"type": "Format"}, {"maxTokens": 9000}, "maxTokens (9000) acts only in the"),
        (Reward, {"type": "Accuracy"}, {"bufferTokens": 9}, "bufferTokens (9) acts only in the"),
        (Rl, {"steps": 1, "dynamicSampling": False}, {"groupFilter": "Reward"}, "groupFilter (R"),
        (Rl, {"steps": 1, "dynamicSampling": False}, {"maxSamplingRounds": 4}, "Rounds (4) acts"),
        (FolderSource, {"uri": "v"}, {"maxClipsPerVideo": 2}, "(2) acts only with clipSeconds"),
        (FramePlan, WHOLE, {"fps": 8}, "fps (8.0) acts only with sampling: AtFps: leave it out"),
        (SplitPlan, {"rule": "Train"}, {"testFraction": 0.5}, "(0.5) acts only with rule: Random"),
        (SplitPlan, {"rule": "Source"}, {"seed": 7}, "seed (7) acts only with rule: Random"),
        (Answer, {}, {"threshold": 0.9}, "threshold (0.9) acts only with the metrics F1"),
        (RewardModelSpec, JUDGE, {"precision": "Float32"}, "precision (Float32) acts only on a"),
        (RewardModelSpec, JUDGE, {"port": 8000}, "port (8000) acts only on a judge that Assay"),
        (RewardModelSpec, JUDGE, {"pool": "judges"}, "pool (judges) acts only on a judge"),
        (TrainingStageSpec, SFT, {"placement": {"rollouts": 2}}, "rollouts (2) acts only in the"),
    ],
)
def test_it_is_named_with_its_value_and_where_it_acts(
    model: type[Model], spec: dict[str, Any], idle: dict[str, Any], told: str
) -> None:
    model.model_validate(spec)
    with pytest.raises(ValidationError) as error:
        model.model_validate({**spec, **idle})
    assert told in str(error.value)


def test_the_value_that_a_server_fills_in_is_taken() -> None:
    """An API server writes every default into what it stores."""
    for model, spec in ((Reward, {"type": "Format"}), (FramePlan, WHOLE), (RewardModelSpec, JUDGE)):
        filled = model.model_validate(spec)
        assert model.model_validate(filled.model_dump(by_alias=True)) == filled
