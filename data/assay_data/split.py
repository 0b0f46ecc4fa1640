"""Dividing videos into Train and Test."""

from collections.abc import Iterable
from hashlib import sha256

from assay_api import InvalidInput, Split
from assay_api.dataset import SplitPlan


def split_videos(videos: Iterable[tuple[str, str]], plan: SplitPlan) -> dict[str, Split]:
    """Return the part of each video, given as pairs of identifier and label.

    Within each label the videos are put in an order that depends only on seed and identifier, and
    the first ones are Test: a video that is added or removed moves few others.

    Raises:
        InvalidInput: a label has fewer than two videos, so one part would lack it.

    Example:
        >>> parts = split_videos([("a", "real"), ("b", "real")], SplitPlan(test_fraction=0.1))
        >>> sorted(parts.values())
        [<Split.TEST: 'Test'>, <Split.TRAIN: 'Train'>]
    """
    by_label: dict[str, list[str]] = {}
    for video_id, label in videos:
        by_label.setdefault(label, []).append(video_id)
    parts: dict[str, Split] = {}
    for label, ids in by_label.items():
        if len(ids) < 2:
            raise InvalidInput(
                f"there is only {len(ids)} usable {label} video: at least 2 of each class are "
                f"needed, one for Train and one for Test; add {label} videos"
            )
        ordered = sorted(ids, key=lambda video_id: _rank(plan.seed, video_id))
        num_test = min(max(1, round(len(ids) * plan.test_fraction)), len(ids) - 1)
        for position, video_id in enumerate(ordered):
            parts[video_id] = Split.TEST if position < num_test else Split.TRAIN
    return parts


def _rank(seed: int, video_id: str) -> bytes:
    """Return a key that orders videos at random, the same way every time."""
    return sha256(f"{seed}/{video_id}".encode()).digest()
