"""The one order of things: shuffled by a seed, new each time round, the same everywhere."""

import hashlib
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Generic, TypeVar

Item = TypeVar("Item")


def derived_seed(*parts: int | str) -> int:
    """Return a seed of 31 bits that depends on all the parts."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1


def shuffled_order(count: int, seed: int, turn: int) -> list[int]:
    """Return the numbers below `count` in the order of one round.

    Example:
        >>> shuffled_order(5, seed=0, turn=0), shuffled_order(5, seed=0, turn=1)
        ([1, 2, 3, 0, 4], [0, 4, 1, 3, 2])
    """
    order = list(range(count))
    random.Random(derived_seed(seed, "order", turn)).shuffle(order)
    return order


class ShuffledStream(Generic[Item]):
    """Items without end, in a new order each time round. A place in it needs no other state."""

    def __init__(self, items: Sequence[Item], seed: int | None) -> None:
        """Repeat these items, in an order that the seed determines.

        Args:
            items: at least one.
            seed: of the orders; None: as they are, each time round.
        """
        self._items = items
        self._seed = seed
        self._order = lru_cache(maxsize=1)(self._new_order)

    def at(self, place: int) -> tuple[int, Item]:
        """Return the item at a place, with its round."""
        turn, index = divmod(place, len(self._items))
        return turn, self._items[self._order(turn)[index]]

    def draw(self, cursor: int, count: int) -> list[tuple[int, Item]]:
        """Return the items at `cursor` and the places after it, each with its round."""
        return [self.at(place) for place in range(cursor, cursor + count)]

    def _new_order(self, turn: int) -> Sequence[int]:
        num_items = len(self._items)
        return (
            range(num_items) if self._seed is None else shuffled_order(num_items, self._seed, turn)
        )
