"""What every training loop is built from: dataset, policy, learner, encoder, store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay_api import ResolvedStageJob, Split, ThinkingMode, TrainingStage
from assay_api.digest import stage_job_digest
from assay_api.prompt import PromptSource
from assay_data.dataset import ClipDataset, ClipRow
from assay_data.dataset.usable import usable_rows
from assay_data.store import Store
from assay_trainer.answers.answerable import answerable_rows
from assay_trainer.answers.rule import AnswerRule
from assay_trainer.checkpoints import Checkpoints
from assay_trainer.families.batch import Completion, MicroBatch, collate
from assay_trainer.families.inputs import EncodedPrompt
from assay_trainer.learner.learner import Learner
from assay_trainer.loops.recorder import Recorder
from assay_trainer.prompts.lengths import measure_prompts, room_for_prompts
from assay_trainer.prompts.row_media import row_media, shown_rows
from assay_trainer.prompts.row_prompts import RowPrompts
from assay_trainer.records import Shown
from assay_trainer.tracking.sender import start_senders

if TYPE_CHECKING:
    # A loop loads neither transformers nor DeepSpeed: it is given what it runs on.
    from assay_trainer.families.family import PromptEncoder
    from assay_trainer.learner.reference import Reference
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
    reference: "Reference | None" = None
    """The start model, where the stage measures how far it has come from it."""

    @property
    def stage(self) -> TrainingStage:
        """The resource that the stage runs."""
        return self.job.stage

    @property
    def prompts(self) -> RowPrompts:
        """What rows are asked."""
        return RowPrompts(self.stage.spec.prompt, self.policy.render)

    @property
    def answers(self) -> AnswerRule:
        """How answers are read and scored."""
        return AnswerRule.of(self.stage.spec.answer)

    def fitting_rows(
        self, split: Split, modes: Sequence[ThinkingMode], max_completion_tokens: int
    ) -> tuple[ClipRow, ...]:
        """Return the rows that can be asked about, compared with the truth, and have room.

        Raises:
            InvalidInput: there are none.
        """
        prompt = self.stage.spec.prompt
        rows = usable_rows(self.dataset.rows(split), needs_label=True, source=prompt.source)
        rows = answerable_rows(rows, self.answers.format, split.value)
        rows = shown_rows(rows, prompt, self.policy.family.shows, split.value)
        if prompt.source is PromptSource.QUESTION:
            return rows
        room = room_for_prompts(prompt, self.policy.base.config, max_completion_tokens)
        measured = measure_prompts(self.prompts, rows, modes, self.policy.tokenizer)
        return measured.within(room, split.value).rows

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
