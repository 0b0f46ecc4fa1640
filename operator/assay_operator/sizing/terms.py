"""A sum of memory, term by term, each with the formula that it comes from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

GIB = 2**30
"""Bytes of a GiB."""


class Moment(StrEnum):
    """When a learner's memory is fullest: one of these."""

    BACKWARD = "backward"
    """The backward pass begins: all activations are there."""
    STEP = "optimiser step"
    """Activations are gone, the optimiser has its temporary copies."""


@dataclass(frozen=True, slots=True)
class Term:
    """Memory that one thing takes."""

    name: str
    """What takes it."""
    num_bytes: int
    """How much."""
    why: str
    """The formula with its numbers."""
    moments: tuple[Moment, ...] = tuple(Moment)
    """When it is there."""

    @property
    def gib(self) -> float:
        """The same in GiB."""
        return self.num_bytes / GIB


def in_millions(count: int) -> str:
    """Return a number of parameters for people.

    Example:
        >>> in_millions(8_292_166_656)
        '8,292.2 M'
    """
    return f"{count / 1e6:,.1f} M"


def total_bytes(terms: Iterable[Term]) -> int:
    """Return what all terms take together."""
    return sum(term.num_bytes for term in terms)


def peak(terms: Sequence[Term]) -> tuple[Moment, int]:
    """Return the moment at which the terms take most together, and how many bytes that is."""
    sums = {m: total_bytes(term for term in terms if m in term.moments) for m in Moment}
    moment = max(Moment, key=lambda m: sums[m])
    return moment, sums[moment]
