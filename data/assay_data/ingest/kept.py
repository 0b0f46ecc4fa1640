"""Which rows stay in a dataset, and in which part each video is."""

from collections import Counter
from collections.abc import Sequence

from assay_api import InvalidInput
from assay_api.dataset import DatasetSpec, SplitRule
from assay_data.dataset.rows import LABELS, ClipRow
from assay_data.drops import Drop, DropReason, describe_reasons
from assay_data.ingest.gather import Gathered
from assay_data.ingest.same_pictures import Contents
from assay_data.ingest.split import assign_parts

NAMED = 3
"""Examples that a message names."""


def select(
    spec: DatasetSpec,
    gathered: Gathered,
    rows: Sequence[ClipRow],
    decoding_drops: Sequence[Drop],
    contents: Contents,
) -> tuple[tuple[Drop, ...], dict[str, str]]:
    """Return all drops, and the split of each video that stays.

    Args:
        spec: of the dataset.
        gathered: what the source holds.
        rows: what became of it.
        decoding_drops: what did not.
        contents: which files hold the same pictures.

    Raises:
        InvalidInput: too few rows stay for the split that is asked for.
    """
    if spec.source.rows is None:
        again = find_repeats(rows, contents)
    else:
        strict = [row for row in rows if row.source in gathered.one_label_each]
        again = find_conflicts(strict, contents)
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
    same = same_videos(kept, contents)
    parts = assign_parts([(same[row.video_id], row.label, row.split) for row in kept], spec.split)
    ordered = sorted(drops, key=lambda drop: drop.source)
    return tuple(ordered), {video_id: parts[first].value for video_id, first in same.items()}


def same_videos(rows: Sequence[ClipRow], contents: Contents) -> dict[str, str]:
    """Return for each video the first that shares bytes or pictures with it, whatever their names.

    Rows of other tools name one video in several ways; under each it must be in the same part.
    """
    first: dict[str, str] = {}

    def find(video_id: str) -> str:
        while first.setdefault(video_id, video_id) != video_id:
            video_id = first[video_id]
        return video_id

    holder: dict[str, str] = {}
    for row in rows:
        content = contents.get(row.source_sha256, row.source_sha256)
        one, other = find(row.video_id), find(holder.setdefault(content, row.video_id))
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


def find_repeats(rows: Sequence[ClipRow], contents: Contents) -> list[Drop]:
    """Return drops for files that show the same: all but the first, or all if labels differ."""
    drops = find_conflicts(rows, contents)
    conflicting = {drop.source for drop in drops}
    for same in _by_content(rows, contents):
        first, *others = sorted(same, key=lambda row: row.source)
        if first.source not in conflicting:
            details = [f"{_what([first, other])} as {first.source}" for other in others]
            repeats = zip(others, details, strict=True)
            drops += [Drop(row.source, DropReason.DUPLICATE, detail) for row, detail in repeats]
    return drops


def find_conflicts(rows: Sequence[ClipRow], contents: Contents) -> list[Drop]:
    """Return drops for all sources that show the same under two labels."""
    drops: list[Drop] = []
    for same in _by_content(rows, contents):
        if len({row.label for row in same}) > 1:
            named = sorted(row.source for row in same)
            more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
            detail = f"{_what(same)}, both labels: {', '.join(named[:NAMED])}{more}"
            drops += [Drop(row.source, DropReason.CONFLICTING_LABEL, detail) for row in same]
    return drops


def _by_content(rows: Sequence[ClipRow], contents: Contents) -> list[list[ClipRow]]:
    """Return a row of each source, all that show the same together."""
    sources: dict[str, dict[str, ClipRow]] = {}
    for row in rows:
        content = contents.get(row.source_sha256, row.source_sha256)
        sources.setdefault(content, {})[row.source] = row
    return [list(same.values()) for same in sources.values()]


def _what(same: Sequence[ClipRow]) -> str:
    """Return what these have in common."""
    return "same bytes" if len({row.source_sha256 for row in same}) == 1 else "same pictures"
