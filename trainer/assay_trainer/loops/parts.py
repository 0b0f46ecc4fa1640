"""What every training loop is built from: dataset, policy, learner, encoder, store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay_api import ResolvedStageJob, TrainingStage
from assay_api.digest import stage_job_digest
from assay_data.dataset import ClipDataset
from assay_data.store import Store
from assay_trainer.checkpoints import Checkpoints
from assay_trainer.learner.batch import Completion, MicroBatch, collate
from assay_trainer.learner.learner import Learner
from assay_trainer.loops.recorder import Recorder
from assay_trainer.models.inputs import EncodedPrompt, PromptEncoder
from assay_trainer.records import Clip
from assay_trainer.tracking.sender import start_senders

if TYPE_CHECKING:
    # A loop loads neither transformers nor DeepSpeed: it is given what it runs on.
    from assay_trainer.models.policy import Policy


@dataclass(frozen=True)
class StageParts:
    """The parts of one learner process of a training stage."""

    job: ResolvedStageJob
    store: Store
    """The stage's folder."""
    dataset: ClipDataset
    policy: "Policy"
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
