"""Which part of much is shown."""

from collections.abc import Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")


def evenly_spaced(items: Sequence[T], count: int) -> tuple[T, ...]:
    """Return at most `count` items: the first, the last, and evenly spaced ones in between.

    Example:
        >>> evenly_spaced([1, 2, 3, 4, 5, 6, 7, 8, 9], 3)
        (1, 5, 9)
    """
    if len(items) <= count:
        return tuple(items)
    if count == 1:
        return (items[0],)
    return tuple(items[round(i * (len(items) - 1) / (count - 1))] for i in range(count))


def in_turn(kinds: Sequence[tuple[Hashable, T]], count: int) -> tuple[T, ...]:
    """Return at most `count` items, taking one of each kind in turn.

    Example:
        >>> in_turn([("a", 1), ("a", 2), ("a", 3), ("b", 4)], 3)
        (1, 4, 2)
    """
    by_kind: dict[Hashable, list[T]] = {}
    for kind, item in kinds:
        by_kind.setdefault(kind, []).append(item)
    turns = [(turn, item) for items in by_kind.values() for turn, item in enumerate(items)]
    return tuple(item for _, item in sorted(turns, key=lambda pair: pair[0]))[:count]
