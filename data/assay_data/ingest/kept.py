"""Which rows stay in a dataset, and in which part each video is."""

from collections import Counter
from collections.abc import Sequence

from assay_api import InvalidInput
from assay_api.dataset import DatasetSpec, SplitRule
from assay_data.dataset.rows import ClipRow
from assay_data.drops import Drop, DropReason, describe_reasons
from assay_data.ingest.gather import Gathered
from assay_data.ingest.split import assign_parts
from assay_data.sources.polarity import LABELS

NAMED = 3
"""Examples that a message names."""


def select(
    spec: DatasetSpec, gathered: Gathered, rows: Sequence[ClipRow], decoding_drops: Sequence[Drop]
) -> tuple[tuple[Drop, ...], dict[str, str]]:
    """Return all drops, and the split of each video that stays.

    Raises:
        InvalidInput: too few rows stay for the split that is asked for.
    """
    if spec.source.rows is None:
        again = find_repeats(rows)
    else:
        again = find_conflicts([row for row in rows if row.source in gathered.one_label_each])
    drops = [*gathered.drops, *decoding_drops, *again]
    dropped = {drop.source for drop in again}
    kept = [row for row in rows if row.source not in dropped]
    if spec.source.rows is None and spec.split.rule is SplitRule.RANDOM:
        _check_classes(kept, gathered, drops)
    if not kept:
        raise InvalidInput(
            f"the source has no usable row; dropped: {describe_reasons(drops)}; the first: "
            f"{drops[0].source}: {drops[0].detail}. Mend what was dropped"
        )
    same = same_videos(kept)
    parts = assign_parts([(same[row.video_id], row.label, row.split) for row in kept], spec.split)
    ordered = sorted(drops, key=lambda drop: drop.source)
    return tuple(ordered), {video_id: parts[first].value for video_id, first in same.items()}


def same_videos(rows: Sequence[ClipRow]) -> dict[str, str]:
    """Return for each video the first that shares a file's bytes with it, whatever they are called.

    Rows of other tools name one video in several ways; under each it must be in the same part.
    """
    first: dict[str, str] = {}

    def find(video_id: str) -> str:
        while first.setdefault(video_id, video_id) != video_id:
            video_id = first[video_id]
        return video_id

    holder: dict[str, str] = {}
    for row in rows:
        one, other = find(row.video_id), find(holder.setdefault(row.source_sha256, row.video_id))
        first[one] = other
    return {video_id: find(video_id) for video_id in first}


def _check_classes(rows: Sequence[ClipRow], gathered: Gathered, drops: Sequence[Drop]) -> None:
    """Raise InvalidInput unless there are two videos of each class."""
    counts = Counter({row.video_id: row.label for row in rows}.values())
    if all(counts[label] >= 2 for label in LABELS):
        return
    raise InvalidInput(
        f"the source has {counts['real']} usable real and {counts['fake']} usable fake videos; "
        f"of {len(gathered.items)} videos and {len(gathered.drops)} other files these were "
        f"dropped: {describe_reasons(drops)}. At least 2 of each class are needed, one for Train "
        "and one for Test: add videos, mend those that were dropped, or set spec.split.rule to "
        "Source, Train or Test"
    )


def find_repeats(rows: Sequence[ClipRow]) -> list[Drop]:
    """Return drops for files of the same bytes: all but the first, or all if labels differ."""
    drops = find_conflicts(rows)
    conflicting = {drop.source for drop in drops}
    for same in _by_bytes(rows):
        first, *others = sorted(same)
        if first not in conflicting:
            drops += [Drop(s, DropReason.DUPLICATE, f"same bytes as {first}") for s in others]
    return drops


def find_conflicts(rows: Sequence[ClipRow]) -> list[Drop]:
    """Return drops for all sources of the same bytes under two labels."""
    drops: list[Drop] = []
    for same in _by_bytes(rows):
        if len(set(same.values())) > 1:
            named = sorted(same)
            more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
            detail = f"same bytes, both labels: {', '.join(named[:NAMED])}{more}"
            drops += [Drop(source, DropReason.CONFLICTING_LABEL, detail) for source in same]
    return drops


def _by_bytes(rows: Sequence[ClipRow]) -> list[dict[str, str]]:
    """Return the label of each source, for all sources of the same bytes together."""
    sources: dict[str, dict[str, str]] = {}
    for row in rows:
        sources.setdefault(row.source_sha256, {})[row.source] = row.label
    return list(sources.values())
