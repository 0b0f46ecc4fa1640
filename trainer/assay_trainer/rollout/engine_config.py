"""How an engine is set up; apart from the engine, so that asking for one does not load it."""

from dataclasses import dataclass

from assay_api.gpu_memory import ENGINE_SHARE, MAX_SEQUENCES
from assay_api.stage import Lora


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What the engine needs to know besides the model, before it loads it."""

    precision: str
    max_model_length_tokens: int
    max_sequences: int = MAX_SEQUENCES
    lora: Lora | None = None
    memory_fraction: float = ENGINE_SHARE
    """Share of the whole GPU that the engine takes; on a CPU nothing depends on it."""
    max_pictures: int = 0
    """Pictures of a prompt, at most; a model of video and pictures makes room for them."""
    batch_invariant: bool = False
    """Whether results may not depend on what else is in the batch."""
