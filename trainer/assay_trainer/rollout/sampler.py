"""What a sampler is, apart from any engine: requests in, sampled completions out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from assay_trainer.records import Media, Rollout, Shown
from assay_trainer.rollout.loaded_weights import LoadedWeights


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """How completions are drawn."""

    num_samples: int
    max_tokens: int
    temperature: float
    """0 takes the likeliest token each time."""
    num_alternatives: int = 0
    """How many of the likeliest tokens are reported beside each chosen one."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A prompt in the chat format, with a mark where each medium is shown."""

    text: str
    media: Media
    seed: int
    """Of this request alone: the same request gives the same completions, in any batch."""


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """A prompt about a row of the dataset; the engine reads the frames itself."""

    text: str
    row_id: str
    seed: int
    shows: Shown = Shown.VIDEO


@dataclass(frozen=True, slots=True)
class Sample:
    """A completion and, where asked for, the likeliest tokens at each position."""

    rollout: Rollout
    alternatives: tuple[Mapping[int, float], ...] = ()
    """Token id to log-probability in nats, one mapping a position."""


class Sampler(Protocol):
    """Draws completions under the weights that it was last given."""

    def sample(
        self, requests: Sequence[SampleRequest], plan: SamplingPlan
    ) -> list[tuple[Sample, ...]]:
        """Draw `plan.num_samples` completions for each request, in order."""
        ...

    def load(self, weights: Mapping[str, Tensor], policy_version: int) -> None:
        """Sample from these weights from now on."""
        ...

    def loaded(self) -> LoadedWeights:
        """Return what it samples from now, read back from the model that it runs."""
        ...


class SamplerPool(Protocol):
    """Samplers side by side under the same weights, which read the clips themselves."""

    def wait_ready(self) -> None:
        """Wait until every one has loaded its model.

        Raises:
            InvalidInput: model or dataset are not what one needs.
            EngineError: one failed too often.
        """
        ...

    def sample(
        self, requests: Sequence[ClipRequest], plan: SamplingPlan
    ) -> list[tuple[Sample, ...]]:
        """Draw `plan.num_samples` completions for each request, in order.

        Raises:
            EngineError: one failed too often.
        """
        ...

    def load(self, weights: Mapping[str, Tensor], policy_version: int) -> list[LoadedWeights]:
        """Sample from these weights from now on; return what each has then, as it read it back.

        Raises:
            EngineError: one failed too often.
        """
        ...

    def each(self, request: ClipRequest, plan: SamplingPlan) -> list[Sample]:
        """Ask every one the same, for comparing them; return the first completion of each.

        Raises:
            EngineError: one failed too often.
        """
        ...
