"""Thinking: how good a judge finds the reasoning of a right answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assay_api import ThinkingMode
from assay_trainer.answers.rule import AnswerRule
from assay_trainer.records import PromptItem, Rollout
from assay_trainer.rewards.judges.judging import Judging
from assay_trainer.rewards.outcome import Outcome, Score


@dataclass(frozen=True, slots=True)
class ThinkingReward:
    """The smaller of accuracy and the judge's score when thinking, exactly 0 when not.

    The judge is not asked about wrong answers, for which the smaller of the two is 0 anyway.

    Source:
        BusterX++, arXiv:2507.14632: r_think = min(r_acc, M). Without SophiaVL-R1's annealing.
    """

    judge: Judging
    image_urls: Callable[[str], Sequence[str]]
    """Returns the frames of a dataset row as the judge is shown them."""
    answers: AnswerRule

    def __call__(self, prompt: PromptItem, rollout: Rollout) -> Outcome:
        """Return the reward, or the judge's abstention or failure."""
        accuracy = self.answers.value(prompt, rollout)
        if prompt.mode is not ThinkingMode.THINK or accuracy == 0:
            return Score(0.0)
        images = self.image_urls(prompt.row_id)
        outcome = self.judge.score(prompt.question, prompt.opening + rollout.text, images)
        if not isinstance(outcome, Score):
            return outcome
        return Score(min(accuracy, outcome.value))
