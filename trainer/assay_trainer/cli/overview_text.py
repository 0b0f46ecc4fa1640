"""A dataset's numbers as text for a terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence

from assay_data.dataset.overview import Dropped, Overview, Spread, frequent_sizes, size_text

_LONGEST_DETAIL = 100
"""Characters of what was wrong with a dropped file."""


def overview_text(url: str, digest: str, found: Overview) -> str:
    """Return the numbers as aligned lines."""
    facts = [
        ["dataset", url],
        ["digest", digest],
        ["size", size_text(found.size_bytes)],
        ["rows", _rows(found)],
        ["tasks", ", ".join(f"{printable(task)} {count}" for task, count in found.tasks.items())],
        ["splits", _words(found, "split")],
        ["classes", _words(found, "label")],
    ]
    kinds = [["split", "class", "generator", "rows", "videos", "seconds"]]
    kinds += [
        [*map(printable, (k.split, k.label, k.generator)), str(k.num_rows), str(k.num_videos),
         f"{k.seconds:.1f}"]
        for k in found.kinds
    ]  # fmt: skip
    spreads = [["per row with frames", "least", "median", "most"]]
    spreads += [
        [name, *_numbers(spread)]
        for name, spread in (
            ("seconds", found.clip_seconds),
            ("frames", found.frames_per_clip),
            ("frames per second", found.sampled_fps),
            ("visual tokens", found.visual_tokens),
        )
    ]
    blocks = [aligned(facts, num_words=2), aligned(kinds, num_words=3)]
    if found.num_with_frames:
        blocks.append(aligned(spreads, num_words=1))
        blocks.append(aligned([["frames of", "rows"], *_sizes(found)], num_words=1))
    if found.lacks:
        blocks.append("\n".join(_lacks(found)))
    blocks.append("\n".join(_drops(found)))
    return "\n\n".join(blocks)


def aligned(rows: Sequence[Sequence[str]], num_words: int) -> str:
    """Return a table: the first so many columns to the left, the numbers after them to the right.

    Example:
        >>> print(aligned([["sort", "clips"], ["real", "12"]], num_words=1))
        sort  clips
        real     12
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if index < num_words else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def printable(text: str) -> str:
    r"""Return the text on one line, what a terminal would obey or cannot show written out.

    Example:
        >>> print(printable("a\tb\x1b[2J \u89c6"))
        a\tb\x1b[2J 视
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _rows(found: Overview) -> str:
    """Return how many rows there are, about how many videos."""
    blank = f", {found.num_without_answer} without an answer" if found.num_without_answer else ""
    if found.num_with_frames == found.num_rows:
        return f"{found.num_rows} of {found.num_videos} videos{blank}"
    return (
        f"{found.num_rows} about {found.num_videos} videos or questions, "
        f"{found.num_with_frames} with frames{blank}"
    )


def _words(found: Overview, field: str) -> str:
    """Return the rows by split or by class, as words."""
    rows: Counter[str] = Counter()
    for kind in found.kinds:
        rows[getattr(kind, field)] += kind.num_rows
    return ", ".join(f"{printable(name)} {count}" for name, count in sorted(rows.items())) or "-"


def _numbers(spread: Spread | None) -> list[str]:
    if spread is None:
        return ["-", "-", "-"]
    return [f"{number:.10g}" for number in (spread.least, spread.median, spread.most)]


def _sizes(found: Overview) -> list[list[str]]:
    return [[name, str(num_rows)] for name, num_rows in frequent_sizes(found)]


def _lacks(found: Overview) -> Iterator[str]:
    """Yield a line for each thing that rows lack."""
    yield "rows that RL, fusion and accuracy leave out:"
    yield from (f"  {lack}: {count}" for lack, count in found.lacks.items())


def _drops(found: Overview) -> Iterator[str]:
    """Yield a line for each reason, and below it one for each example."""
    yield f"dropped: {found.num_dropped or 'no'} file{'s' if found.num_dropped != 1 else ''}"
    for dropped in found.drops:
        yield f"  {dropped.reason} {dropped.num_files}"
        yield from _examples(dropped)


def _examples(dropped: Dropped) -> Iterator[str]:
    for drop in dropped.examples:
        detail = printable(drop.detail)
        if len(detail) > _LONGEST_DETAIL:
            detail = detail[:_LONGEST_DETAIL] + "..."
        yield f"    {printable(drop.source)}: {detail}"
    others = dropped.num_files - len(dropped.examples)
    if others:
        yield f"    and {others} more, in drops.json"
