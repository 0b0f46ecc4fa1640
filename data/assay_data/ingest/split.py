"""Dividing videos into Train and Test."""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from assay_api import InvalidInput, Split
from assay_api.dataset import SplitPlan, SplitRule

NAMED = 5
"""Examples that a message names."""

Placed = tuple[str, str, str]
"""A row's video, its label, and the part that its source says, empty when it says none."""


def assign_parts(rows: Sequence[Placed], plan: SplitPlan) -> dict[str, Split]:
    """Return the part of each video, by the plan's rule.

    Raises:
        InvalidInput: the rule is Source, and the source says nothing of a row, or puts a video in
            both parts; or it is Random, and there are too few videos.
    """
    videos = dict.fromkeys(video_id for video_id, _, _ in rows)
    if plan.rule is SplitRule.RANDOM:
        return split_videos(_strata(rows), plan)
    if plan.rule is SplitRule.SOURCE:
        return _by_source(rows)
    return dict.fromkeys(videos, Split(plan.rule.value))


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
                f"needed, one for Train and one for Test; add {label} videos, or set "
                "spec.split.rule to Train or Test"
            )
        ordered = sorted(ids, key=lambda video_id: _rank(plan.seed, video_id))
        num_test = min(max(1, round(len(ids) * plan.test_fraction)), len(ids) - 1)
        for position, video_id in enumerate(ordered):
            parts[video_id] = Split.TEST if position < num_test else Split.TRAIN
    return parts


def _strata(rows: Sequence[Placed]) -> list[tuple[str, str]]:
    """Return each video with its label, or with all its labels where they differ from row to row.

    Where one kind of video is alone, all are divided as one: it cannot be in both parts.
    """
    labels: dict[str, set[str]] = {}
    for video_id, label, _ in rows:
        labels.setdefault(video_id, set()).add(label)
    strata = {video_id: " and ".join(sorted(found)) for video_id, found in labels.items()}
    sizes = [list(strata.values()).count(stratum) for stratum in set(strata.values())]
    if min(sizes) < 2:
        return [(video_id, "source") for video_id in strata]
    return list(strata.items())


def _by_source(rows: Sequence[Placed]) -> dict[str, Split]:
    """Return the part that the source says."""
    silent = sorted({video_id for video_id, _, part in rows if not part})
    if silent:
        raise InvalidInput(
            f"spec.split.rule Source: the source says of {len(silent)} videos or questions neither "
            f"Train nor Test, such as {', '.join(silent[:NAMED])}: put them in folders train/ and "
            "test/, add extra_info.split to the rows, or choose Random, Train or Test"
        )
    parts: dict[str, Split] = {}
    both: set[str] = set()
    for video_id, _, part in rows:
        if parts.setdefault(video_id, Split(part)) != part:
            both.add(video_id)
    if both:
        raise InvalidInput(
            f"spec.split.rule Source: {len(both)} videos or questions are in Train and in Test, "
            f"such as {', '.join(sorted(both)[:NAMED])}: remove them from one, or choose Random"
        )
    return parts


def _rank(seed: int, video_id: str) -> bytes:
    """Return a key that orders videos at random, the same way every time."""
    return sha256(f"{seed}/{video_id}".encode()).digest()
