"""What a completion says, and what every answer format must be able to do."""

from dataclasses import dataclass
from typing import Protocol

from assay_data.dataset import ClipRow


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a completion says."""

    verdict: str | None
    """The answer if the whole completion keeps to the format, else None: `real` or `fake`, `yes` or
    `no`, or the answer's own text, as the format has it."""
    loose_verdict: str | None
    """The answer where it stands in its place, whatever is around it, else None."""
    thinking: str | None
    """Text of the think block; None unless there is exactly one, and no token of control."""

    @property
    def well_formed(self) -> bool:
        """Whether the whole completion keeps to the format; only then there is a verdict."""
        return self.verdict is not None

    @property
    def has_thinking(self) -> bool:
        """Whether the think block holds something other than white space."""
        return self.thinking is not None and bool(self.thinking.strip())


NOTHING = Parsed(verdict=None, loose_verdict=None, thinking=None)
"""What a completion with a token of control in it says."""


class AnswerFormat(Protocol):
    """A way to write an answer. Has no state; may be used from several threads at once."""

    @property
    def name(self) -> str:
        """Its name in manifests."""
        ...

    @property
    def form(self) -> str:
        """How a completion in this format looks, for messages."""
        ...

    @property
    def marks(self) -> tuple[str, ...]:
        """What a prompt must name for a model to know the format."""
        ...

    def parse(self, text: str) -> Parsed:
        """Return what a whole completion says, the prompt's opening included."""
        ...

    def truth(self, row: ClipRow) -> str | None:
        """Return the right answer as a verdict; None: the row has none in this format."""
        ...
