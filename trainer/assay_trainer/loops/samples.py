"""What a fusion stage keeps of its model's samples, and until when it goes on sampling.

Clips are taken in an order that the stage's seed shuffles. What is learned from is, of each class,
the first right sample of as many clips as are wanted, from the beginning of that order; where all
clips are too few, their second ones follow, and so on. So it depends on the order alone, not on how
many clips were sampled at once, nor on where sampling was interrupted.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assay_data.dataset import ClipRow
from assay_trainer.answers.rule import LETTER_RULE
from assay_trainer.records import FAKE, REAL, PromptItem, Rollout

LABELS = (REAL, FAKE)


@dataclass(frozen=True, slots=True)
class RightSample:
    """A right answer with reasoning to one clip."""

    row_id: str
    label: str
    text: str


def right_samples(prompt: PromptItem, rollouts: Sequence[Rollout]) -> list[RightSample]:
    """Return the different right answers with reasoning among a clip's samples, in order."""
    texts = [
        rollout.text
        for rollout in rollouts
        if LETTER_RULE.is_correct(prompt, rollout)
        and LETTER_RULE.parse(prompt, rollout).has_thinking
    ]
    return [RightSample(prompt.row_id, prompt.label, text) for text in dict.fromkeys(texts)]


def clips_answered(samples: Sequence[RightSample]) -> Mapping[str, int]:
    """Return how many clips of each class have a right answer."""
    return Counter(label for _, label in {(sample.row_id, sample.label) for sample in samples})


def next_clips(
    order: Sequence[ClipRow], start: int, answered: Mapping[str, int], wanted: int, most: int
) -> tuple[list[ClipRow], int]:
    """Return the clips to sample next, and the place in the order from which to go on after them.

    Args:
        order: all clips.
        start: place of the first that was not looked at yet.
        answered: how many clips of each class have a right answer.
        wanted: how many are enough of each class; a class that has them is passed over.
        most: at most this many clips at once.
    """
    chosen: list[ClipRow] = []
    for place in range(start, len(order)):
        row = order[place]
        if answered.get(row.label, 0) >= wanted:
            continue
        chosen.append(row)
        if len(chosen) == most:
            return chosen, place + 1
    return chosen, len(order)


def choose(samples: Sequence[RightSample], wanted: int) -> list[RightSample]:
    """Return at most `wanted` samples of each class: first one of each clip, then the second ones.

    Args:
        samples: in the order of the clips, those of one clip in the order they were drawn.
        wanted: at most this many of each class.
    """
    turns: dict[str, list[tuple[int, RightSample]]] = {label: [] for label in LABELS}
    seen: dict[str, int] = defaultdict(int)
    for sample in samples:
        turns[sample.label].append((seen[sample.row_id], sample))
        seen[sample.row_id] += 1
    return [
        sample
        for label in LABELS
        for _, sample in sorted(turns[label], key=lambda pair: pair[0])[:wanted]
    ]
