from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_prompts import asked, made_row

from assay_api import ThinkingMode
from assay_api.answers import Answer
from assay_trainer.answers.rule import LETTER_RULE, AnswerRule
from assay_trainer.records import PromptItem, Rollout
from assay_trainer.rewards.accuracy import AccuracyReward
from assay_trainer.rewards.format import FormatReward
from assay_trainer.rewards.mode_followed import ModeFollowedReward
from assay_trainer.rewards.outcome import Abstain, Failure, Outcome, Score
from assay_trainer.rewards.overlong import OverlongReward
from assay_trainer.rewards.thinking import ThinkingReward

THINK, NO_THINK = ThinkingMode.THINK, ThinkingMode.NO_THINK


def prompt(label: str = "fake", mode: ThinkingMode = THINK) -> PromptItem:
    return asked(row_id="v7", label=label, mode=mode, text="...", question="Is it?")


def rollout(text: str = "", num_tokens: int = 1) -> Rollout:
    return Rollout(
        token_ids=(5,) * num_tokens,
        sampler_logprobs=(-0.1,) * num_tokens,
        text=text,
        truncated=False,
        policy_version=0,
    )


def test_format_is_zero_or_minus_one() -> None:
    kept, broken = "<think></think><answer>A</answer>", "<answer>A</answer>"
    assert FormatReward(LETTER_RULE)(prompt(), rollout(kept)) == Score(0.0)
    assert FormatReward(LETTER_RULE)(prompt(), rollout(broken)) == Score(-1.0)


@pytest.mark.parametrize(
    ("label", "text", "value"),
    [
        ("fake", "<think>x</think><answer>B</answer>", 1.0),
        ("real", "<think>x</think><answer>A</answer>", 1.0),
        ("real", "<think>x</think><answer>B</answer>", 0.0),
        ("fake", "<answer>B</answer>", 0.0),
        ("real", "no, not now: I know", 0.0),
    ],
)
def test_accuracy_counts_the_strict_verdict(label: str, text: str, value: float) -> None:
    assert AccuracyReward(LETTER_RULE)(prompt(label), rollout(text)) == Score(value)


@pytest.mark.parametrize(
    ("mode", "text", "value"),
    [
        (THINK, "<think>hm</think><answer>A</answer>", 0.0),
        (THINK, "<think> </think><answer>A</answer>", -1.0),
        (THINK, "<answer>A</answer>", -1.0),
        (NO_THINK, "<think></think><answer>A</answer>", 0.0),
        (NO_THINK, "<think>\n</think><answer>A</answer>", 0.0),
        (NO_THINK, "<think>hm</think><answer>A</answer>", -1.0),
        (NO_THINK, "<answer>A</answer>", -1.0),
    ],
)
def test_mode_followed_wants_a_full_or_an_empty_block(
    mode: ThinkingMode, text: str, value: float
) -> None:
    assert ModeFollowedReward(LETTER_RULE)(prompt(mode=mode), rollout(text)) == Score(value)


@pytest.mark.parametrize(
    ("num_tokens", "value"),
    [(1, 0.0), (600, 0.0), (601, -1 / 150), (675, -0.5), (749, -149 / 150), (750, -1), (900, -1)],
)
def test_overlong_falls_over_the_last_buffer(num_tokens: int, value: float) -> None:
    reward = OverlongReward(max_tokens=750, buffer_tokens=150)
    assert reward(prompt(), rollout(num_tokens=num_tokens)).value == pytest.approx(value, abs=1e-15)


@given(st.integers(2, 400), st.integers(1, 399), st.integers(1, 500))
def test_overlong_never_rewards_and_never_grows(limit: int, buffer: int, length: int) -> None:
    reward = OverlongReward(max_tokens=limit, buffer_tokens=min(buffer, limit - 1))
    shorter = reward(prompt(), rollout(num_tokens=length)).value
    longer = reward(prompt(), rollout(num_tokens=length + 1)).value
    assert -1 <= longer <= shorter <= 0


@dataclass
class Judge:
    outcome: Outcome
    asked: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)

    def score(self, question: str, reasoning: str, image_urls: Sequence[str]) -> Outcome:
        self.asked.append((question, reasoning, tuple(image_urls)))
        return self.outcome


RIGHT, WRONG = "<think>hm</think><answer>B</answer>", "<think>hm</think><answer>A</answer>"


@pytest.mark.parametrize("outcome", [Score(0.6), Abstain("Nonsense"), Failure("it is down")])
def test_thinking_is_what_the_judge_says_of_a_right_answer(outcome: Outcome) -> None:
    judge = Judge(outcome)
    reward = ThinkingReward(judge, lambda row_id: (f"{row_id}.png",), LETTER_RULE)
    assert reward(prompt(), rollout(RIGHT)) == outcome
    assert judge.asked == [("Is it?", RIGHT, ("v7.png",))]


@pytest.mark.parametrize(("mode", "text"), [(THINK, WRONG), (NO_THINK, RIGHT), (NO_THINK, WRONG)])
def test_the_judge_is_not_asked_where_it_cannot_matter(mode: ThinkingMode, text: str) -> None:
    judge = Judge(Score(0.9))
    reward = ThinkingReward(judge, lambda row_id: (), LETTER_RULE)
    assert reward(prompt(mode=mode), rollout(text)) == Score(0.0)
    assert judge.asked == []


def test_other_words_are_worth_their_f1_and_form_and_mode_are_the_stages() -> None:
    rule = AnswerRule.of(Answer.model_validate({"format": "Text", "metric": "F1"}))
    row = made_row(label="", answer="University of Wyoming")
    prompt = PromptItem(row, THINK, "Which? <think>", "Which?", opening="<think>")
    answer = rollout("He went there.</think> <answer>Wyoming</answer>")
    assert AccuracyReward(rule)(prompt, answer) == Score(pytest.approx(0.5))
    assert FormatReward(rule)(prompt, answer) == Score(0.0)
    assert ModeFollowedReward(rule)(prompt, answer) == Score(0.0)
    assert FormatReward(LETTER_RULE)(prompt, answer) == Score(-1.0)
    judge = Judge(Score(0.9))
    assert ThinkingReward(judge, lambda row_id: (), rule)(prompt, answer) == Score(0.5)
    assert judge.asked[0][1] == f"<think>{answer.text}"
