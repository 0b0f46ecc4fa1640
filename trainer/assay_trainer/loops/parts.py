"""What every training loop is built from: dataset, policy, learner, encoder, store."""

import logging
import os
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from assay_api import FramePlan, ResolvedStageJob, TrainingStage
from assay_api.digest import stage_job_digest
from assay_data.dataset import ClipDataset
from assay_data.store import Store, open_store
from assay_trainer.checkpoints import Checkpoints
from assay_trainer.learner.batch import Completion, MicroBatch, collate
from assay_trainer.learner.deepspeed_engine import Learner
from assay_trainer.learner.forward import RowScorer
from assay_trainer.loops.recorder import Recorder
from assay_trainer.models.export import write_adapter, write_model
from assay_trainer.models.inputs import EncodedPrompt, PromptEncoder, visual_token_ids
from assay_trainer.models.policy import Policy, load_policy
from assay_trainer.models.published import ADAPTER, RESULT, ModelCard, adapter_base
from assay_trainer.models.start import start_folder
from assay_trainer.records import Clip
from assay_trainer.tracking.sender import start_senders

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageParts:
    """The parts of one learner process of a training stage."""

    job: ResolvedStageJob
    store: Store
    """The stage's folder."""
    dataset: ClipDataset
    policy: Policy
    learner: Learner
    encoder: PromptEncoder

    @property
    def stage(self) -> TrainingStage:
        """The resource that the stage runs."""
        return self.job.stage

    def clip(self, row_id: str) -> Clip:
        """Return the sampled frames of a row."""
        return Clip(self.dataset.frames(row_id), self.dataset.row(row_id).sampled_fps)

    def encode(self, text: str, row_id: str) -> EncodedPrompt:
        """Encode a prompt about a row, its clip as a video."""
        return self.encoder.encode(text, self.clip(row_id))

    def checkpoints(self) -> Checkpoints:
        """Return the stage's checkpoints."""
        return Checkpoints(
            self.store,
            self.learner,
            identity=stage_job_digest(self.job, self.dataset.digest),
            plan=self.stage.spec.checkpoint,
        )

    def recorder(self) -> Recorder:
        """Return what keeps the stage's numbers; only the leading process's does anything."""
        leads = self.learner.rank == 0
        return Recorder(
            self.store,
            total_steps=self.stage.spec.total_steps,
            leads=leads,
            senders=start_senders(self.job, self.store, self.dataset.digest) if leads else (),
        )

    def publish_model(self) -> None:
        """Publish the trained model as the stage's result, adapters merged and beside it."""
        frames = FramePlan.model_validate(self.dataset.info["spec"]["frames"])
        card = ModelCard(prompt=self.stage.spec.prompt, frames=frames)
        with tempfile.TemporaryDirectory(prefix="assay-model-") as scratch:
            folder = Path(scratch)
            write_model(self.policy, card, folder)
            if self.policy.has_adapters:
                assert self.job.model is not None, "adapters have a model that they adapt"
                write_adapter(self.policy, adapter_base(self.job.model), folder / ADAPTER)
            self.store.publish(folder, RESULT)
        _LOG.info("model published at %s/%s", self.store.url, RESULT)

    def micro_batches(self, completions: Sequence[Completion]) -> list[MicroBatch]:
        """Cut completions into micro-batches, in order."""
        size = self.stage.spec.placement.micro_batch
        return [
            collate(
                completions[start : start + size],
                pad_id=self.policy.processor.tokenizer.pad_token_id,
                tokens_per_second=self.policy.tokens_per_second,
            ).to(self.learner.device)
            for start in range(0, len(completions), size)
        ]


def build_parts(job: ResolvedStageJob, *, temperature: float) -> StageParts:
    """Open the dataset, load or make the model, and hand it to the learner.

    Raises:
        InvalidInput: the model's folder holds no model.
        StoreError: dataset or model are not where the job says.
    """
    spec = job.stage.spec
    torch.manual_seed(spec.seed)
    _single_process_defaults()
    store = open_store(job.output)
    dataset = ClipDataset.open(open_store(job.dataset))
    with tempfile.TemporaryDirectory(prefix="assay-model-") as scratch:
        folder = start_folder(
            job.model, spec.model.scratch, spec.prompt.question, dataset, Path(scratch)
        )
        policy = load_policy(
            folder,
            precision=spec.placement.precision,
            lora=spec.lora,
            freeze_vision_tower=spec.freeze_vision_tower,
        )
    scorer = RowScorer(
        policy.model, banned_ids=visual_token_ids(policy.processor), temperature=temperature
    )
    method = spec.sft or spec.rl or spec.fusion
    assert method is not None
    learner = Learner(scorer, method.optimizer, spec.placement, total_steps=spec.total_steps)
    return StageParts(job, store, dataset, policy, learner, PromptEncoder(policy.processor))


def _single_process_defaults() -> None:
    """Make this process the only rank, unless a launcher has said otherwise."""
    if "RANK" in os.environ or torch.distributed.is_initialized():
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(
        RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
