import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from made_prompts import asked
from played_judge import played_judge

from assay_api import InvalidInput, JudgeError, ResolvedJudge, ThinkingMode
from assay_api.rewards import Reward, RewardType
from assay_trainer.answers.rule import LETTER_RULE
from assay_trainer.records import PromptItem, Rollout, RolloutGroup
from assay_trainer.rewards import registry
from assay_trainer.rewards.judges.chat import Judge
from assay_trainer.rewards.outcome import Score
from assay_trainer.rewards.registry import build_terms
from assay_trainer.rewards.scoring import Scored, score_groups

FORMAT, ACCURACY = Reward(type=RewardType.FORMAT), Reward(type=RewardType.ACCURACY)
OVERLONG = Reward(type=RewardType.OVERLONG, max_tokens=20, buffer_tokens=10)
MODE = Reward(type=RewardType.MODE_FOLLOWED)
THINKING = Reward(type=RewardType.THINKING, weight=2.0, reward_model="critic")


MEETING = threading.Barrier(4, timeout=20)


def obedient(text: str) -> str | int:
    """Say what the reasoning tells to; `down` is an error, `meet` waits for three others."""
    word = text.split("say ")[1].split("<")[0]
    if word == "meet":
        MEETING.wait()
        word = "0.5"
    return 500 if word == "down" else f"<answer>{word}</answer>"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with played_judge(obedient) as url:
        yield url


def make_judge(url: str, max_consecutive_failures: int = 100) -> Judge:
    spec = ResolvedJudge(
        name="critic",
        url=url,
        model="critic",
        num_frames=2,
        concurrency=4,
        timeout_seconds=10,
        retries=0,
    )
    return Judge(spec, max_consecutive_failures=max_consecutive_failures)


def group(row_id: str, *texts: str, mode: ThinkingMode = ThinkingMode.THINK) -> RolloutGroup:
    return RolloutGroup(
        prompt=asked(row_id=row_id, label="fake", mode=mode, text="...", question="Is it?"),
        rollouts=tuple(
            Rollout((1,) * 15, (-0.5,) * 15, text=text, truncated=False, policy_version=0)
            for text in texts
        ),
    )


def right(word: str) -> str:
    return f"<think>say {word}</think><answer>B</answer>"


WRONG = "<think>say 0.9</think><answer>A</answer>"


class Frames:
    """Frames of every row, counting how often they are fetched."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def __call__(self, row_id: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
        self.fetched.append(row_id)
        time.sleep(0.05)
        return np.zeros((4, 8, 8, 3), dtype=np.uint8)


def score(
    url: str, groups: Sequence[RolloutGroup], *rewards: Reward, frames: Frames | None = None
) -> Scored:
    with make_judge(url) as judge:
        terms = build_terms(rewards, {"critic": judge}, frames or Frames(), LETTER_RULE)
        return score_groups(groups, terms, std_floor=1e-3, is_correct=LETTER_RULE.is_correct)


def test_terms_are_weighted_and_added_up() -> None:
    rewards = (FORMAT, ACCURACY.model_copy(update={"weight": 3.0}), OVERLONG, MODE)
    terms = build_terms(rewards, {}, Frames(), LETTER_RULE)
    scored = score_groups(
        [group("v1", right("x"), WRONG, "no")],
        terms,
        std_floor=1e-3,
        is_correct=LETTER_RULE.is_correct,
    )
    (only,) = scored.groups
    assert only.terms == {
        "Format": (0.0, 0.0, -1.0),
        "Accuracy": (3.0, 0.0, 0.0),
        "Overlong": (-0.5, -0.5, -0.5),
        "ModeFollowed": (0.0, 0.0, -1.0),
    }
    assert only.rewards == (2.5, -0.5, -2.5)
    assert only.correct == (True, False, False)
    assert only.advantages == pytest.approx((1.0596259, -0.1324532, -0.9271726))


def test_the_judges_scores_go_to_the_rollouts_they_belong_to(url: str) -> None:
    groups = [group(f"v{i}", right(f"0.{i}"), WRONG, right(f"0.{9 - i}")) for i in range(1, 9)]
    scored = score(url, groups, ACCURACY, THINKING)
    assert [g.group for g in scored.groups] == groups
    assert [g.terms["Thinking"] for g in scored.groups] == [
        (2 * (i / 10), 0.0, 2 * ((9 - i) / 10)) for i in range(1, 9)
    ]


def test_all_questions_to_a_judge_are_in_flight_up_to_its_bound(url: str) -> None:
    groups = [group("v1", right("meet"), right("meet")), group("v2", right("meet"), right("meet"))]
    scored = score(url, groups, THINKING)
    assert [g.terms["Thinking"] for g in scored.groups] == [(1.0, 1.0), (1.0, 1.0)]


def test_no_thinking_group_gets_exactly_nothing_and_asks_nobody(url: str) -> None:
    frames = Frames()
    quiet = group("v1", right("0.9"), WRONG, mode=ThinkingMode.NO_THINK)
    scored = score(url, [quiet], ACCURACY, THINKING, frames=frames)
    assert scored.groups[0].terms["Thinking"] == (0.0, 0.0)
    assert frames.fetched == []


def test_one_abstention_takes_the_term_from_the_whole_group(url: str) -> None:
    groups = [group("v1", right("0.9"), right("hm"), WRONG), group("v2", right("0.5"), WRONG)]
    scored = score(url, groups, ACCURACY, THINKING)
    first, second = scored.groups
    assert first.terms == {"Accuracy": (1.0, 1.0, 0.0), "Thinking": (None, None, None)}
    assert first.rewards == (1.0, 1.0, 0.0)
    assert second.rewards == (2.0, 0.0)
    (dropped,) = scored.abstentions
    assert (dropped.group, dropped.reward, dropped.reason) == (groups[0], "Thinking", "Nonsense")
    assert scored.failures == ()


def test_one_failure_hands_the_group_back(url: str) -> None:
    groups = [group("v1", right("0.9"), right("down")), group("v2", right("0.5"), WRONG)]
    scored = score(url, groups, ACCURACY, THINKING)
    assert [g.group for g in scored.groups] == groups[1:]
    (failed,) = scored.failures
    assert (failed.group, failed.reward) == (groups[0], "Thinking")
    assert "HTTP 500" in failed.reason


def test_a_judge_that_is_down_stops_the_scoring(url: str) -> None:
    groups = [group(f"v{i}", right("down"), right("down")) for i in range(4)]
    with make_judge(url, max_consecutive_failures=3) as judge, pytest.raises(JudgeError):
        terms = build_terms((THINKING,), {"critic": judge}, Frames(), LETTER_RULE)
        score_groups(groups, terms, std_floor=1e-3, is_correct=LETTER_RULE.is_correct)


def test_frames_of_a_row_are_fetched_once_for_all_of_its_rollouts(url: str) -> None:
    frames = Frames()
    groups = [group("v1", *[right("0.5")] * 6), group("v2", right("0.5"), WRONG)]
    score(url, groups, THINKING, frames=frames)
    assert sorted(frames.fetched) == ["v1", "v2"]


def test_a_reward_given_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"spec\.rewards\[1\]\.type: Accuracy is given twice"):
        build_terms((ACCURACY, ACCURACY), {}, Frames(), LETTER_RULE)


def test_an_unknown_reward_model_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"spec\.rewards\[0\]\.rewardModel: .* 'critic'"):
        build_terms((THINKING,), {}, Frames(), LETTER_RULE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_reward_that_is_no_finite_number_fails_by_name_group_and_value(
    value: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(prompt: PromptItem, rollout: Rollout) -> Score:
        return Score(value if prompt.row_id == "v2" and "B" in rollout.text else 0.0)

    around = registry._of_answers(lambda answers: broken)
    monkeypatch.setitem(registry.BUILDERS, RewardType.FORMAT, around)
    groups = [group("v1", right("x"), WRONG), group("v2", WRONG, right("x"))]
    terms = build_terms((FORMAT, ACCURACY), {}, Frames(), LETTER_RULE)
    scored = score_groups(groups, terms, std_floor=1e-3, is_correct=LETTER_RULE.is_correct)

    assert [one.group.prompt.row_id for one in scored.groups] == ["v1"]
    (failed,) = scored.failures
    assert (failed.group.prompt.row_id, failed.reward) == ("v2", "Format")
    said = f"the reward Format gave {value} (weight 1) to rollout 1 of the group of row v2"
    assert said in failed.reason and said in caplog.text
