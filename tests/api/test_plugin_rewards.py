"""Rewards of the user's own in a manifest: what needs no import is checked before anything runs."""

from typing import Any

import pytest
from pydantic import ValidationError

from assay_api.rewards import Reward
from assay_api.stage import TrainingStageSpec

MINE = {"name": "Mine", "function": "mine:score"}


def plugin(**fields: Any) -> dict[str, Any]:
    return {"type": "Plugin", "plugin": MINE | fields}


def stage(*rewards: dict[str, Any]) -> TrainingStageSpec:
    spec = {"model": {"uri": "file:///m"}, "dataset": "d", "rl": {"steps": 4}, "rewards": rewards}
    return TrainingStageSpec.model_validate(spec)


def test_a_plugin_may_be_the_only_reward_for_right_answers() -> None:
    spec = stage({"type": "Format"}, plugin(arguments={"table": {"a": [1, None, "x"]}}))

    assert [reward.name for reward in spec.rewards] == ["Format", "Mine"]
    assert spec.rewards[1].plugin is not None
    assert spec.rewards[1].plugin.arguments == {"table": {"a": [1, None, "x"]}}


def test_several_plugins_stand_beside_each_other() -> None:
    spec = stage(plugin(), plugin(name="Yours"))
    assert [reward.name for reward in spec.rewards] == ["Mine", "Yours"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "Accuracy"}, "name Accuracy is taken"),
        ({"name": "Factuality"}, "name Factuality is taken"),
        ({"name": "Mean"}, "name Mean is taken"),
        ({"name": "my_name"}, "String should match pattern"),
        ({"function": "mine; rm"}, "String should match pattern"),
        ({"arguments": {"a b": 1}}, "'a b' is no name of an argument in Python"),
        ({"arguments": {"a": float("nan")}}, "arguments: JSON has no such value"),
        ({"arguments": {"a": object()}}, "arguments: JSON has no such value"),
        ({"arguments": {"a": "x" * 20_000}}, "at most 16384 are allowed"),
        ({"timeoutSeconds": 0}, "greater than 0"),
        ({"rightAnswers": {}}, "Field required"),
        ({"path": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_field_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Reward.model_validate(plugin(**fields))


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        ([{"type": "Plugin"}], "plugin belongs to, and is required by, the reward Plugin"),
        ([{"type": "Format", "plugin": MINE}], "plugin belongs to"),
        ([plugin(), plugin()], r"once, found \['Mine', 'Mine'\]"),
        ([plugin(), {"type": "Format"}, {"type": "Format"}], "once, found"),
        (
            [
                plugin(rightAnswers={"atLeast": 1}),
                plugin(name="Yours", rightAnswers={"atLeast": 1}),
            ],
            "rightAnswers of Mine and Yours: one alone can decide",
        ),
    ],
)
def test_rewards_that_cannot_stand_together_are_refused(rewards: list[Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        stage(*rewards)
