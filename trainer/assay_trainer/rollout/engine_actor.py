"""A rollout engine in a Ray actor: vLLM, and the dataset that its requests refer to."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay_api import AssayError, InvalidInput
from assay_data.dataset import ClipDataset
from assay_data.store import open_store
from assay_trainer.deadlines import ENGINE_CALL_SECONDS, ENGINE_START_SECONDS
from assay_trainer.device import require_device
from assay_trainer.models.published import model_folder
from assay_trainer.process import ProcessName, set_up_process
from assay_trainer.rollout.engine_config import EngineConfig

if TYPE_CHECKING:
    # What only starts engines loads no torch.
    from torch import Tensor

    from assay_trainer.rollout.loaded_weights import LoadedWeights
    from assay_trainer.rollout.sampler import ClipRequest, Sample, SamplingPlan

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """What the engines of a pool have in common."""

    engine: EngineConfig
    model: str
    """URL of the model; each engine fetches its own copy."""
    dataset: str
    """URL of the dataset."""
    num_engines: int
    threads_per_engine: int
    num_gpus_per_engine: int
    resource: str | None = None
    """Ray's own resource of the nodes that engines belong on; None: any node."""
    start_timeout_seconds: float = ENGINE_START_SECONDS
    call_timeout_seconds: float = ENGINE_CALL_SECONDS
    process: ProcessName | None = None
    """Name of the engines' processes in logs and metrics; None: neither is set up."""


class RolloutEngine:
    """The actor. It loads its model when it is made; `ready` tells how that went."""

    def __init__(self, config: PoolConfig) -> None:
        """Load model and dataset."""
        self._failure: AssayError | InvalidInput | None = None
        try:
            self._open(config)
        except (AssayError, InvalidInput) as error:
            # Of what ends the start of an actor Ray keeps only the text; `ready` raises the error.
            self._failure = error

    def _open(self, config: PoolConfig) -> None:
        if config.process is not None:
            set_up_process(config.process)
        # Before anything is fetched.
        require_device(config.engine.precision)
        if config.engine.batch_invariant:
            from assay_trainer.rollout.batch_invariance import sample_batch_invariantly

            sample_batch_invariantly()
        started = time.perf_counter()
        self._dataset = ClipDataset.open(open_store(config.dataset))
        import torch

        from assay_trainer.rollout.vllm_engine import VllmSampler

        torch.set_num_threads(config.threads_per_engine)
        self._sampler = VllmSampler(model_folder(config.model), config.engine)
        _LOG.info("is ready after %.1f s", time.perf_counter() - started)

    def ready(self) -> int:
        """Return the number of the process once the model is loaded."""
        if self._failure is not None:
            raise self._failure
        return os.getpid()

    def sample(
        self, requests: "Sequence[ClipRequest]", plan: "SamplingPlan"
    ) -> "list[tuple[Sample, ...]]":
        """Draw completions for each request, in order."""
        from assay_trainer.prompts.row_media import row_media
        from assay_trainer.rollout.sampler import SampleRequest

        shown = [
            SampleRequest(
                request.text,
                row_media(self._dataset, request.row_id, request.shows),
                request.seed,
            )
            for request in requests
        ]
        return self._sampler.sample(shown, plan)

    def load(self, weights: "Mapping[str, Tensor]", policy_version: int) -> "LoadedWeights":
        """Sample from these weights from now on; return what was loaded, as it is read back."""
        self._sampler.load(weights, policy_version)
        return self._sampler.loaded()
