"""A dataset's numbers as text for a terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence

from assay_data.overview import Dropped, Overview, Spread

SIZES_SHOWN = 8
_LONGEST_DETAIL = 100
"""Characters of what was wrong with a dropped file."""


def overview_text(url: str, digest: str, found: Overview) -> str:
    """Return the numbers as aligned lines."""
    facts = [
        ["dataset", url],
        ["digest", digest],
        ["size", size_text(found.size_bytes)],
        ["clips", f"{found.num_clips} of {found.num_videos} videos"],
        ["splits", _words(found, "split")],
        ["classes", _words(found, "label")],
    ]
    kinds = [["split", "class", "generator", "clips", "videos", "seconds"]]
    kinds += [
        [*map(printable, (k.split, k.label, k.generator)), str(k.num_clips), str(k.num_videos),
         f"{k.seconds:.1f}"]
        for k in found.kinds
    ]  # fmt: skip
    spreads = [["per clip", "least", "median", "most"]]
    spreads += [
        [name, *_numbers(spread)]
        for name, spread in (
            ("seconds", found.clip_seconds),
            ("frames", found.frames_per_clip),
            ("frames per second", found.sampled_fps),
            ("visual tokens", found.visual_tokens),
        )
    ]
    blocks = [
        aligned(facts, num_words=2),
        aligned(kinds, num_words=3),
        aligned(spreads, num_words=1),
        aligned(_sizes(found), num_words=1),
        "\n".join(_drops(found)),
    ]
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


def size_text(size_bytes: int) -> str:
    """Return a number of bytes for people.

    Example:
        >>> size_text(0), size_text(999), size_text(123456), size_text(7 * 10**12)
        ('0 bytes', '999 bytes', '123.5 kB', '7.0 TB')
    """
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    size, units = size_bytes / 1000, iter(("kB", "MB", "GB"))
    for unit in units:
        if size < 999.95:
            return f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def printable(text: str) -> str:
    r"""Return the text on one line, what a terminal would obey or cannot show written out.

    Example:
        >>> print(printable("a\tb\x1b[2J \u89c6"))
        a\tb\x1b[2J 视
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _words(found: Overview, field: str) -> str:
    """Return the clips by split or by class, as words."""
    clips: Counter[str] = Counter()
    for kind in found.kinds:
        clips[getattr(kind, field)] += kind.num_clips
    return ", ".join(f"{printable(name)} {count}" for name, count in sorted(clips.items())) or "-"


def _numbers(spread: Spread | None) -> list[str]:
    if spread is None:
        return ["-", "-", "-"]
    return [f"{number:.10g}" for number in (spread.least, spread.median, spread.most)]


def _sizes(found: Overview) -> list[list[str]]:
    """Return the most frequent sizes of frames, and how many clips have others."""
    sizes = [[f"{size} pixels", str(clips)] for size, clips in found.frame_sizes.items()]
    shown, others = sizes[:SIZES_SHOWN], sizes[SIZES_SHOWN:]
    if others:
        shown.append([f"{len(others)} other sizes", str(sum(int(clips) for _, clips in others))])
    return [["frames of", "clips"], *shown]


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
