"""What passes between the verbs of the RL loop: prompts, rollouts, groups.

A worked example, one prompt with two rollouts of which one was right::

    RolloutGroup(
        prompt=PromptItem(row=ClipRow(row_id="v7", label="fake", ...), mode=ThinkingMode.THINK,
                          text="<|im_start|>...", question="Is this video real or fake?"),
        rollouts=(
            Rollout(token_ids=(9, 4, 2), sampler_logprobs=(-0.1, -0.7, -0.2),
                    text="<think>..</think><answer>B</answer>", truncated=False, policy_version=3),
            Rollout(token_ids=(9, 5, 2), sampler_logprobs=(-0.1, -0.9, -0.1),
                    text="<think>..</think><answer>A</answer>", truncated=False, policy_version=3),
        ),
    )
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from jaxtyping import UInt8

from assay_api import ThinkingMode
from assay_data.dataset import ClipRow

REAL, FAKE = "real", "fake"
"""Labels. Positive is fake. In the multiple-choice answer A is real and B is fake."""


Frames = UInt8[np.ndarray, "frame height width 3"]
"""Frames of one clip, RGB."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Sampled frames and how many of them make a second."""

    frames: Frames
    fps: float


@dataclass(frozen=True, slots=True)
class Pictures:
    """Frames that are shown one by one, each as a picture of its own."""

    frames: Frames


Media = Clip | Pictures | None
"""What a prompt shows besides text; None: nothing."""


class Shown(StrEnum):
    """How a prompt shows its row's frames."""

    VIDEO = "Video"
    PICTURES = "Pictures"
    NOTHING = "Nothing"


@dataclass(frozen=True, slots=True)
class PromptItem:
    """One question about one row of a dataset, as it is put to the model."""

    row: ClipRow
    """The whole record: its media belong to the prompt, its answer and evidence to the rewards."""
    mode: ThinkingMode
    """The thinking mode that is asked for."""
    text: str
    """The whole prompt in the chat format, with a mark where the video or a picture is shown."""
    question: str
    """The question alone, as the judge is told it."""
    shows: Shown = Shown.VIDEO
    """How it shows the row's frames."""
    opening: str = ""
    """What of a completion the prompt already holds: `<think>`, if it ends inside the reasoning."""

    @property
    def row_id(self) -> str:
        """Identifies the dataset row."""
        return self.row.row_id

    @property
    def label(self) -> str:
        """The truth: `real` or `fake`; empty where the row says nothing of a video's truth."""
        return self.row.label


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled completion."""

    token_ids: tuple[int, ...]
    """The sampled tokens, the end token included if it was sampled."""
    sampler_logprobs: tuple[float, ...]
    """Log-probability in nats of each, as the sampler drew it (temperature, banned ids)."""
    text: str
    """The whole completion, special tokens included, but for the token that ended it."""
    truncated: bool
    """Whether the length limit ended it, as the sampler's stop reason says."""
    policy_version: int
    """Optimiser steps that the sampling weights had seen."""

    def __post_init__(self) -> None:
        """Refuse log-probabilities that do not belong to the tokens."""
        if len(self.token_ids) != len(self.sampler_logprobs):
            raise ValueError(
                f"{len(self.token_ids)} tokens but {len(self.sampler_logprobs)} log-probabilities"
            )


@dataclass(frozen=True, slots=True)
class RolloutGroup:
    """All rollouts of one prompt."""

    prompt: PromptItem
    rollouts: tuple[Rollout, ...]


@dataclass(frozen=True, slots=True)
class JudgedSentence:
    """A sentence of a rollout's reasoning, held against the row's evidence."""

    start: int
    """Place of its first character in the rollout's text."""
    end: int
    """Place after its last character."""
    score: float | None
    """The verifier's, between 0 and 1; None: it gave none, and would not if asked again."""
    verdict: int | None
    """1: supported, 0: neutral, -1: contradicted; None without a score."""


@dataclass(frozen=True, slots=True)
class JudgedReasoning:
    """What a verifier says of a rollout's reasoning."""

    sentences: tuple[JudgedSentence, ...]
    """In order; none where there was nothing to be checked, or nothing to check it against."""
    token_ends: tuple[int, ...]
    """Place after the last whole character of each token, in the rollout's text."""


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """A group whose rollouts all have a reward. Lists run over the rollouts, in order."""

    group: RolloutGroup
    terms: dict[str, tuple[float | None, ...]]
    """Weighted terms by reward name; None throughout where the reward abstained on a rollout."""
    rewards: tuple[float, ...]
    """Sum of the terms that were given."""
    correct: tuple[bool, ...]
    """Whether the answer is right: what dynamic sampling filters on."""
    advantages: tuple[float, ...]
    """Rewards in standard deviations of the group."""
    by_token: tuple[tuple[float, ...], ...] | None = None
    """Advantages of each rollout's tokens; None: all have that of their rollout."""
    metrics: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    """Numbers that came with the terms, as `TERM/NUMBER`; None where a rollout had none."""
    judged: tuple[JudgedReasoning, ...] | None = None
    """Verdicts on the reasoning of each rollout; None: the stage has no verifier."""

    def scaled(self, factor: float) -> "ScoredGroup":
        """Return the group with all advantages times a factor."""
        by_token = self.by_token and tuple(
            tuple(one * factor for one in tokens) for tokens in self.by_token
        )
        advantages = tuple(one * factor for one in self.advantages)
        return replace(self, advantages=advantages, by_token=by_token)

    @property
    def token_advantages(self) -> tuple[tuple[float, ...], ...]:
        """What each token of each rollout is learned with."""
        if self.by_token is not None:
            return self.by_token
        pairs = zip(self.group.rollouts, self.advantages, strict=True)
        return tuple((advantage,) * len(rollout.token_ids) for rollout, advantage in pairs)
