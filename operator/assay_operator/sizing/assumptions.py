"""What a plan takes for granted where manifest and pool say nothing."""

import math
from dataclasses import dataclass, field

from assay_api.prompt import Prompt
from assay_operator.sizing.step_time import Speeds

CHARACTERS_PER_TOKEN = 3
"""Of a prompt's text, rather too few: English has about four."""
CHAT_TOKENS = 24
"""The chat format around a question, and the thinking mode's flag."""
JUDGE_TOKENS = 500
"""The orders to a judge."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Flags of `assay plan`."""

    frame_size: tuple[int, int] | None = None
    """Width and height of the sources' frames; None: as many pixels as the frame plan allows."""
    example_tokens: int = 750
    """Longest completion of an SFT example."""
    dataset_gib: float = 8.0
    """Frames of a dataset that is not rendered, in the store."""
    reserve_gib: float = 2.0
    """Of each learner's GPU, for CUDA's context, NCCL and what the allocator cannot use."""
    speeds: Speeds = field(default_factory=Speeds)


def text_tokens(*texts: str | None) -> int:
    """Return how many tokens the texts of a prompt are, roughly.

    Example:
        >>> text_tokens("Is this video real or fake?", None)  # 27 characters
        33
    """
    characters = sum(len(text) for text in texts if text)
    return CHAT_TOKENS + math.ceil(characters / CHARACTERS_PER_TOKEN)


def prompt_tokens(prompt: Prompt) -> int:
    """Return how many tokens a prompt's text is, roughly, in the thinking mode with more of it."""
    how_to_answer = max(prompt.think or "", prompt.no_think or "", key=len)
    return text_tokens(prompt.system, prompt.question, how_to_answer)
