"""What every training loop is built from: dataset, policy, learner, encoder, store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay_api import ResolvedStageJob, TrainingStage
from assay_api.digest import stage_job_digest
from assay_data.dataset import ClipDataset
from assay_data.store import Store
from assay_trainer.checkpoints import Checkpoints
from assay_trainer.families.batch import Completion, MicroBatch, collate
from assay_trainer.families.inputs import EncodedPrompt
from assay_trainer.learner.learner import Learner
from assay_trainer.loops.recorder import Recorder
from assay_trainer.prompts.row_media import row_media
from assay_trainer.records import Shown
from assay_trainer.tracking.sender import start_senders

if TYPE_CHECKING:
    # A loop loads neither transformers nor DeepSpeed: it is given what it runs on.
    from assay_trainer.families.family import PromptEncoder
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
    encoder: "PromptEncoder"

    @property
    def stage(self) -> TrainingStage:
        """The resource that the stage runs."""
        return self.job.stage

    def encode(
        self,
        text: str,
        row_id: str,
        shows: Shown = Shown.VIDEO,
        max_pictures: int | None = None,
    ) -> EncodedPrompt:
        """Encode a prompt about a row, with what it shows of it."""
        media = row_media(self.dataset, row_id, shows, max_pictures=max_pictures)
        return self.encoder.encode(text, media)

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
                pad_id=self.policy.tokenizer.pad_token_id,
            ).to(self.learner.device)
            for start in range(0, len(completions), size)
        ]
