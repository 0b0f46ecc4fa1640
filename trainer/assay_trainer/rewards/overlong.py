"""Overlong: the soft punishment of completions that come close to the length limit."""

from dataclasses import dataclass

from assay_trainer.records import PromptItem, Rollout
from assay_trainer.rewards.outcome import Score


@dataclass(frozen=True, slots=True)
class OverlongReward:
    """Falls from 0 to -1 over the last `buffer_tokens` before `max_tokens`.

    Source:
        Yu et al. 2025, "DAPO", arXiv:2503.14476v1, equation 13: L_max is `max_tokens` and L_cache
        is `buffer_tokens`, a length and not the threshold. Without deviation.
    """

    max_tokens: int
    buffer_tokens: int

    def __call__(self, prompt: PromptItem, rollout: Rollout) -> Score:
        """Return 0 up to the buffer, then a straight line, -1 at and beyond `max_tokens`."""
        into_buffer = len(rollout.token_ids) - (self.max_tokens - self.buffer_tokens)
        return Score(-min(max(into_buffer / self.buffer_tokens, 0.0), 1.0))
