"""The stream of prompts: which clip is asked about in which mode, at each place of the stream."""

import hashlib
import random
from collections.abc import Sequence
from typing import Generic, TypeVar

from assay_api import ThinkingMode
from assay_api.stage import Prompt
from assay_data.dataset import ClipRow
from assay_trainer.chat import detection_prompt
from assay_trainer.records import PromptItem

Item = TypeVar("Item")


def derived_seed(*parts: int | str) -> int:
    """Return a seed of 31 bits that depends on all the parts."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1


class ShuffledStream(Generic[Item]):
    """Items without end, in a new order each time round. A place in it needs no other state."""

    def __init__(self, items: Sequence[Item], seed: int) -> None:
        """Repeat these items, in an order that the seed determines."""
        self._items = items
        self._seed = seed

    def draw(self, cursor: int, count: int) -> list[tuple[int, Item]]:
        """Return the items at `cursor` and the places after it, each with its round."""
        drawn = []
        orders: dict[int, list[int]] = {}
        for place in range(cursor, cursor + count):
            turn, index = divmod(place, len(self._items))
            if turn not in orders:
                orders[turn] = self._order(turn)
            drawn.append((turn, self._items[orders[turn][index]]))
        return drawn

    def _order(self, turn: int) -> list[int]:
        order = list(range(len(self._items)))
        random.Random(derived_seed(self._seed, "order", turn)).shuffle(order)
        return order


class PromptStream:
    """Prompts about the rows of a dataset, in all thinking modes in turn."""

    def __init__(
        self, rows: Sequence[ClipRow], prompt: Prompt, modes: Sequence[ThinkingMode], seed: int
    ) -> None:
        """Ask about these rows, both classes equally often; clips change modes by the round."""
        self._stream = ShuffledStream(balanced(rows), seed)
        self._prompt = prompt
        self._modes = tuple(modes)

    def draw(self, cursor: int, count: int) -> list[PromptItem]:
        """Return the prompts at `cursor` and the places after it."""
        drawn = self._stream.draw(cursor, count)
        return [
            prompt_item(row, self._prompt, self._modes[(place + turn) % len(self._modes)])
            for place, (turn, row) in enumerate(drawn, start=cursor)
        ]


def balanced(rows: Sequence[ClipRow]) -> list[ClipRow]:
    """Return the rows with those of the smaller class repeated, until both are as many.

    Rewarded by accuracy on uneven classes, a model that sees little learns to say the larger one.
    """
    by_label: dict[str, list[ClipRow]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    most = max(len(members) for members in by_label.values())
    extra = [
        members[index % len(members)]
        for _, members in sorted(by_label.items())
        for index in range(most - len(members))
    ]
    return [*rows, *extra]


def prompt_item(row: ClipRow, prompt: Prompt, mode: ThinkingMode) -> PromptItem:
    """Put the question about one row in one mode."""
    text, question = detection_prompt(prompt, mode)
    return PromptItem(row_id=row.row_id, label=row.label, mode=mode, text=text, question=question)
