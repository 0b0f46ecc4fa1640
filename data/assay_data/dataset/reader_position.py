"""How far the readers of a stream are, all ranks together.

A place is a number from 0 on: which row is there depends on seed and rows alone (`order.py`), so to
know the places that were delivered is to know the rows. Places that are open are dealt to the ranks
in turn, like cards. Ranks need not be in step: each counts its own, and `together` adds them up.
"""

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from assay_api import InvalidInput


@dataclass(frozen=True, slots=True)
class ReaderPosition:
    """Which places of a stream were delivered.

    Those before `next_place` and those in `ahead` were, when the open ones were dealt: the others
    from `next_place` on, in turn, to as many ranks as `delivered` is long. Since then each rank has
    had as many of its own as `delivered` says.

    Example:
        Places 0 to 9 and place 11 were delivered. Of two ranks, the first is dealt 10, 13, 15, ...
        and had two of them; the other is dealt 12, 14, 16, ... and had none.

        >>> position = ReaderPosition("3f6e", next_place=10, ahead=(11,), delivered=(2, 0))
        >>> together([position])
        ReaderPosition(stream='3f6e', next_place=12, ahead=(13,), delivered=())
    """

    stream: str
    """Says which rows in which order: a position of another stream means nothing here."""
    next_place: int = 0
    ahead: tuple[int, ...] = ()
    """Ascending, all after `next_place`."""
    delivered: tuple[Annotated[int, Field(ge=0)] | None, ...] = ()
    """By rank; None: known to that rank only."""

    def open_place(self, index: int) -> int:
        """Return the place that is dealt as number `index`, from 0 on."""
        taken = bisect_right(range(len(self.ahead)), index, key=self._open_places_before)
        return self.next_place + index + taken

    def share(self, rank: int, num_ranks: int) -> Iterator[int]:
        """Yield the places that are dealt to a rank, without end."""
        return map(self.open_place, itertools.count(rank, num_ranks))

    def _open_places_before(self, number: int) -> int:
        """Return how many open places come before the place in `ahead` of this number."""
        return self.ahead[number] - number - self.next_place

    def to_json(self) -> dict[str, Any]:
        """Return the position as plain values; `from_json` gives it back."""
        return asdict(self) | {"ahead": list(self.ahead), "delivered": list(self.delivered)}

    @classmethod
    def from_json(cls, values: object) -> "ReaderPosition":
        """Return the position that `to_json` wrote.

        Raises:
            InvalidInput: it is not such a position.
        """
        try:
            position = TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "(whole value)"
            raise InvalidInput(
                f"position of a reader: field {field}: {first['msg']}, got {first['input']!r}: "
                "restore from what position() returned, or start from the beginning"
            ) from None
        in_order = [-1, position.next_place, *position.ahead]
        if any(b <= a for a, b in itertools.pairwise(in_order)):
            raise InvalidInput(
                f"position of a reader: field ahead: {list(position.ahead)} must ascend from after "
                f"next_place, {position.next_place}, which is 0 or more"
            )
        return position


def together(positions: Sequence[ReaderPosition]) -> ReaderPosition:
    """Return what all ranks have had, as a position from which to deal anew.

    Args:
        positions: of all ranks that read at the same time, in any order; one that this function
            returned stands for all of its ranks.

    Raises:
        InvalidInput: a rank's is missing, or they do not belong together.
    """
    known = {(p.stream, p.next_place, p.ahead, len(p.delivered)) for p in positions}
    if len(known) != 1:
        raise InvalidInput(
            f"{len(positions)} positions of {len(known)} different readers: give those of all "
            "ranks of one reader, saved after it was last restored"
        )
    dealt = positions[0]
    by_rank = list(zip(*(p.delivered for p in positions), strict=True))
    counts = [max((n for n in had if n is not None), default=None) for had in by_rank]
    missing = [str(rank) for rank, count in enumerate(counts) if count is None]
    if missing:
        raise InvalidInput(
            f"positions of {len(positions)} readers: that of rank {', '.join(missing)} of "
            f"{len(counts)} is missing: without it, its rows would be lost or read twice"
        )
    return _settled(dealt, [count or 0 for count in counts])


def _settled(dealt: ReaderPosition, counts: Sequence[int]) -> ReaderPosition:
    """Return the position with what the ranks had since counted as delivered."""
    num_ranks = len(counts)
    first = min((rank + num_ranks * count for rank, count in enumerate(counts)), default=0)
    next_place = dealt.open_place(first)
    since = {
        dealt.open_place(index)
        for rank, count in enumerate(counts)
        for index in range(first + (rank - first) % num_ranks, num_ranks * count, num_ranks)
        if index > first
    }
    ahead = sorted(since | {place for place in dealt.ahead if place > next_place})
    return ReaderPosition(dealt.stream, next_place, tuple(ahead))
