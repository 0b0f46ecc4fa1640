"""What is in a dataset, in numbers: what a person looks at before training on it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

from assay_data.dataset import ClipDataset, dropped_files, published_bytes
from assay_data.dataset.rows import UNLABELLED, ClipRow
from assay_data.dataset.usable import count_lacks, count_without_answer
from assay_data.drops import Drop
from assay_data.store import Store
from assay_data.video.frames import visual_tokens

EXAMPLES_OF_A_DROP = 3
SIZES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Spread:
    """Least, middle and most of some numbers; the middle one is one of them."""

    least: float
    median: float
    most: float


@dataclass(frozen=True, slots=True)
class Kind:
    """The rows of one split, class and generator."""

    split: str
    label: str
    generator: str
    num_rows: int
    num_videos: int
    seconds: float
    """Sum over the rows."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The files that were dropped for one reason."""

    reason: str
    num_files: int
    examples: tuple[Drop, ...]
    """The first few, by path."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A dataset in numbers. Spreads are over the rows with frames; None: there are none."""

    num_rows: int
    num_videos: int
    """Different videos; of rows about none, different questions."""
    num_with_frames: int
    num_without_answer: int
    """Bare prompts: rows of formats in which an answer may be missing."""
    num_dropped: int
    size_bytes: int
    """Of all its files."""
    tasks: Mapping[str, int]
    """Rows by task, the most frequent first."""
    kinds: tuple[Kind, ...]
    """By split, class and generator, in alphabetical order."""
    clip_seconds: Spread | None
    frames_per_clip: Spread | None
    sampled_fps: Spread | None
    visual_tokens: Spread | None
    """Tokens of a clip in the prompt; of the clips whose frames the model takes as they are."""
    frame_sizes: Mapping[str, int]
    """Clips by width x height in pixels, the most frequent first."""
    drops: tuple[Dropped, ...]
    """The most frequent reason first."""
    lacks: Mapping[str, int]
    """Rows that RL, fusion or a number of an evaluation cannot use, by what they lack."""


def open_overview(store: Store, dataset: ClipDataset) -> Overview:
    """Return the overview of an opened dataset.

    Raises:
        StoreError: its drops cannot be read.
    """
    return overview(dataset.rows(), dropped_files(store), published_bytes(store))


def overview(rows: Sequence[ClipRow], drops: Iterable[Drop], size_bytes: int) -> Overview:
    """Return a dataset in numbers.

    Args:
        rows: all of it.
        drops: files that did not become part of it.
        size_bytes: of all its files.
    """
    of_reason: dict[str, list[Drop]] = {}
    for drop in sorted(drops, key=lambda drop: drop.source):
        of_reason.setdefault(drop.reason.value, []).append(drop)
    seen = [row for row in rows if row.timestamps_seconds]
    tokens = [count for row in seen if (count := tokens_of(row)) is not None]
    return Overview(
        num_rows=len(rows),
        num_videos=len({row.video_id for row in rows}),
        num_with_frames=len(seen),
        num_without_answer=count_without_answer(rows),
        num_dropped=sum(map(len, of_reason.values())),
        size_bytes=size_bytes,
        tasks=_frequent(row.task or "-" for row in rows),
        kinds=_kinds(rows),
        clip_seconds=spread([_seconds(row) for row in seen]),
        frames_per_clip=spread([len(row.timestamps_seconds) for row in seen]),
        sampled_fps=spread([round(row.sampled_fps, 3) for row in seen]),
        visual_tokens=spread(tokens),
        lacks=count_lacks(rows, needs_label=True),
        frame_sizes=_frequent(f"{row.width}x{row.height}" for row in seen),
        drops=tuple(
            Dropped(reason, len(found), tuple(found[:EXAMPLES_OF_A_DROP]))
            for reason, found in sorted(of_reason.items(), key=lambda i: (-len(i[1]), i[0]))
        ),
    )


def spread(numbers: Sequence[float]) -> Spread | None:
    """Return least, middle and most of the numbers; None if there are none.

    Example:
        >>> spread([3, 1, 7, 2])
        Spread(least=1, median=2, most=7)
    """
    return Spread(min(numbers), median_low(numbers), max(numbers)) if numbers else None


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


def frequent_sizes(found: Overview) -> list[tuple[str, int]]:
    """Return the most frequent sizes of frames for people, each with its number of rows."""
    sizes = [(f"{size} pixels", num_rows) for size, num_rows in found.frame_sizes.items()]
    shown, others = sizes[:SIZES_SHOWN], sizes[SIZES_SHOWN:]
    if others:
        shown.append((f"{len(others)} other sizes", sum(num_rows for _, num_rows in others)))
    return shown


def tokens_of(row: ClipRow) -> int | None:
    """Return how many tokens a row's frames take in the prompt; None if the model takes others."""
    try:
        return visual_tokens(len(row.timestamps_seconds), row.width, row.height)
    except ValueError:
        return None


def _frequent(names: Iterable[str]) -> dict[str, int]:
    """Return how often each name comes, the most frequent first."""
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def _kinds(rows: Sequence[ClipRow]) -> tuple[Kind, ...]:
    members: dict[tuple[str, str, str], list[ClipRow]] = {}
    for row in rows:
        label = row.label or UNLABELLED
        members.setdefault((row.split, label, row.generator or UNLABELLED), []).append(row)
    return tuple(
        Kind(
            *kind,
            num_rows=len(clips),
            num_videos=len({clip.video_id for clip in clips}),
            seconds=round(sum(map(_seconds, clips)), 3),
        )
        for kind, clips in sorted(members.items())
    )


def _seconds(row: ClipRow) -> float:
    return round(row.end_seconds - row.start_seconds, 3)
