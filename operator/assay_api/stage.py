"""TrainingStage: one training stage, by exactly one method."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from assay_api.answers import Answer, FormatName
from assay_api.base import (
    API_VERSION,
    MAX_STEPS,
    Commit,
    Metadata,
    Model,
    ModelSource,
    Name,
    Seed,
    ThinkingMode,
    WorkStatus,
    check_exactly_one,
    check_idle,
)
from assay_api.factuality import Factuality
from assay_api.judge_prompt import JudgeTemplate, check_template
from assay_api.optimizer import Optimizer
from assay_api.pod_template import PodTemplate
from assay_api.policy_loss import Loss
from assay_api.prompt import BUSTERX_PROMPT, Prompt, PromptSource
from assay_api.rewards import MAX_COMPLETION_TOKENS, Reward, check_rewards
from assay_api.running import Checkpoint, Gate, Placement, Retry
from assay_api.tracking import Tracker

LoraRank = Literal[1, 8, 16, 32, 64, 128, 256, 320, 512]
"""Ranks that vLLM takes."""


class Lora(Model):
    """Low-rank adapters on the text model, instead of training all of its weights."""

    rank: LoraRank = Field(
        default=16,
        description="Rank r: one of those for which vLLM, which serves every result, has kernels.",
    )
    alpha: float = Field(
        default=32, gt=0, le=65_536, description="The update is scaled by alpha / r."
    )
    targets: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj"),
        min_length=1,
        max_length=64,
        description="Names of the adapted linear layers.",
    )


OWN_RESPONSE = "Response"
"""The task of SFT that learns each row's own response."""


class Sft(Model):
    """Supervised fine-tuning on the rows' own examples of one task."""

    task: str = Field(
        min_length=1,
        max_length=63,
        description="Which examples of the dataset's rows, e.g. Describe, Judge. Response: each "
        "row's own response.",
    )
    frames_as_images: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Show this many frames, evenly spaced, as images; 0: the clip as a video.",
    )
    prompt_template: JudgeTemplate | None = Field(
        default=None,
        description="Of examples that judge reasoning: what is asked, with {question}, {reasoning} "
        "and {images} in it, as the RewardModel will ask. Unset: the words of SophiaVL-R1.",
    )
    steps: int = Field(ge=1, le=MAX_STEPS, description="Optimiser steps.")
    examples_per_step: int = Field(
        default=32, ge=1, le=1_000_000, description="Examples in the global batch."
    )
    optimizer: Optimizer = Field(default=Optimizer(learning_rate=1e-5), description="AdamW.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_template(self.prompt_template, self.frames_as_images, "framesAsImages")
        return self


class Validation(Model):
    """Greedy answers on held-out clips, before the first step and while training."""

    every: int = Field(
        default=20, ge=1, le=MAX_STEPS, description="Steps between validations; also at the end."
    )
    max_clips: int = Field(
        default=64, ge=1, le=10_000_000, description="At most this many Test clips."
    )


DYNAMIC_FIELDS = ("group_filter", "max_sampling_rounds")
DYNAMIC_ONLY = "with dynamicSampling: true; without, a batch is all groups of one round"


NOTHING_TO_CHECK = "the mode NoThink has no reasoning to check: modes must have Think"


class GroupFilter(StrEnum):
    """Which rollout groups dynamic sampling fills a batch with."""

    CORRECTNESS = "Correctness"
    REWARD = "Reward"


class AdvantageStd(StrEnum):
    """Whose standard deviation advantages are divided by."""

    GROUP = "Group"
    BATCH = "Batch"
    NONE = "None"


STD_FIELDS = ("advantage_std_floor",)
STD_ONLY = "with advantageStd: Group or Batch"


class Rl(Model):
    """Reinforcement learning: with DAPO (arXiv:2503.14476), or another loss of its kind."""

    steps: int = Field(
        ge=1, le=MAX_STEPS, description="Rollout batches; an optimiser step each, if not more."
    )
    prompts_per_step: int = Field(
        default=32, ge=1, le=1_000_000, description="Rollout groups in a batch."
    )
    group_size: int = Field(default=8, ge=2, le=128, description="Rollouts of each prompt.")
    modes: tuple[ThinkingMode, ...] = Field(
        default=(ThinkingMode.THINK,),
        min_length=1,
        max_length=16,
        description="Thinking modes of the prompts, in turn; a group has one mode.",
    )
    max_completion_tokens: int = Field(
        default=750,
        ge=8,
        le=MAX_COMPLETION_TOKENS,
        description="Longest completion; longer ones are cut off.",
    )
    temperature: float = Field(default=1.0, gt=0, le=2, description="Sampling temperature.")
    loss: Loss = Field(default=Loss(), description="The loss, its clip and what is added to it.")
    updates_per_batch: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Optimiser steps on each rollout batch, each on its part of the groups. With "
        "more than one, old log-probabilities are computed before the first.",
    )
    importance_weight_cap: float = Field(
        default=2.0, ge=1, le=1e6, description="Cap of the learner-to-sampler importance weight."
    )
    advantage_std: AdvantageStd = Field(
        default=AdvantageStd.GROUP,
        description="What advantages, rewards less the mean of their group, are divided by: the "
        "standard deviation of the group's rewards, or of the whole batch's, or nothing (Dr. "
        "GRPO).",
    )
    advantage_std_floor: float = Field(
        default=1e-3, gt=0, le=1000, description="Least standard deviation of rewards to divide by."
    )
    dynamic_sampling: bool = Field(
        default=True,
        description="Learn only from groups that groupFilter keeps, and sample more prompts to "
        "fill the batch, each thinking mode by itself. False: one round, and the batch is all of "
        "its groups; those whose rewards are all equal have no gradient.",
    )
    group_filter: GroupFilter = Field(
        default=GroupFilter.CORRECTNESS,
        description="Dynamic sampling: the groups that are kept. Correctness: neither all right "
        "nor all wrong, as in DAPO. Reward: all whose rewards differ, as when right answers are "
        "ranked by their reasoning.",
    )
    max_sampling_rounds: int = Field(
        default=3,
        ge=1,
        le=100,
        description="Dynamic sampling: rounds of new prompts to fill a batch, each at most as "
        "large as the first; after the last the step goes on with the groups found.",
    )
    max_empty_steps: int = Field(
        default=5,
        ge=1,
        le=MAX_STEPS,
        description="Steps in a row without a usable group, which take no optimiser step, before "
        "the stage fails with two of the model's answers.",
    )
    logprob_tolerance: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="Nats by which sampler and learner may differ on the canary's tokens after a "
        "weight sync; beyond it the stage stops. Unset: by placement.precision, 0.001 for Float32 "
        "and 1 for BFloat16, whose rounding alone gives 0.1.",
    )
    batch_invariant: bool = Field(
        default=False,
        description="Sample by kernels whose results do not depend on what else is in the batch "
        "(vLLM's batch-invariant mode, in beta there): slower, but a replaced engine draws the "
        "same tokens on GPUs too. Needs NVIDIA GPUs of compute capability 8.0 or later, and is "
        "refused without.",
    )
    factuality: Factuality | None = Field(
        default=None,
        description="FSPO: sentences of the reasoning are checked against the row's evidence, and "
        "learned from by that; unset: all tokens of a rollout have its advantage.",
    )
    optimizer: Optimizer = Field(default=Optimizer(), description="AdamW.")
    validation: Validation = Field(default=Validation(), description="Held-out accuracy.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.dynamic_sampling:
            check_idle(self, DYNAMIC_FIELDS, DYNAMIC_ONLY)
        if self.factuality is not None and ThinkingMode.THINK not in self.modes:
            raise ValueError(f"factuality: {NOTHING_TO_CHECK}")
        if self.advantage_std is AdvantageStd.NONE:
            check_idle(self, STD_FIELDS, STD_ONLY)
        return self

    @property
    def group_std_floor(self) -> float | None:
        """Least deviation that a group's advantages are divided by; None: by none of its own."""
        return self.advantage_std_floor if self.advantage_std is AdvantageStd.GROUP else None


class Fusion(Model):
    """Thinking-mode fusion: SFT on the model's own correct samples, in both modes."""

    samples_per_clip: int = Field(default=4, ge=1, le=128, description="Samples drawn per clip.")
    max_examples: int = Field(
        default=400,
        ge=2,
        le=10_000_000,
        description="At most this many examples, half of each class. Clips are sampled, in an "
        "order that the seed shuffles, until as many of each class have a right answer.",
    )
    max_completion_tokens: int = Field(
        default=750,
        ge=8,
        le=MAX_COMPLETION_TOKENS,
        description="Longest sample; longer ones are cut off.",
    )
    temperature: float = Field(default=1.0, gt=0, le=2, description="Sampling temperature.")
    steps: int = Field(ge=1, le=MAX_STEPS, description="Optimiser steps of the SFT.")
    examples_per_step: int = Field(
        default=32, ge=1, le=1_000_000, description="Examples in the global batch."
    )
    optimizer: Optimizer = Field(default=Optimizer(learning_rate=1e-5), description="AdamW.")


ENGINE_FIELDS = ("rollouts",)
ENGINE_ONLY = "in the methods rl and fusion, which sample"


class TrainingStageSpec(Model):
    """What is trained from what, how, and where: exactly one of `sft`, `rl`, `fusion`."""

    model: ModelSource = Field(description="The model to start from.")
    dataset: Name = Field(description="Name of the Dataset.")
    prompt: Prompt = Field(
        default=BUSTERX_PROMPT,
        description="What the model is asked; unset: BusterX++'s prompt, which names the tags.",
    )
    answer: Answer = Field(
        default=Answer(),
        description="How answers are written and scored, here and wherever the result is "
        "evaluated; unset: A (real) or B (fake).",
    )
    sft: Sft | None = Field(default=None, description="Supervised fine-tuning.")
    rl: Rl | None = Field(default=None, description="Reinforcement learning.")
    fusion: Fusion | None = Field(default=None, description="Thinking-mode fusion.")
    rewards: tuple[Reward, ...] = Field(default=(), max_length=16, description="Terms, for rl.")
    lora: Lora | None = Field(default=None, description="Adapters; unset: all weights train.")
    freeze_vision_tower: bool = Field(
        default=True, description="Keep the vision tower's weights as they are."
    )
    placement: Placement = Field(default=Placement(), description="Where and how spread.")
    pod_template: PodTemplate = Field(
        default=PodTemplate(), description="What the pods have besides, on a cluster."
    )
    checkpoint: Checkpoint = Field(default=Checkpoint(), description="When state is saved.")
    tracking: tuple[Tracker, ...] = Field(
        default=(),
        max_length=3,
        description="Trackers that are told the stage's numbers, besides files and TensorBoard.",
    )
    retry: Retry = Field(default=Retry(), description="Budgets of new attempts.")
    gate: tuple[Gate, ...] = Field(default=(), max_length=16, description="Must have passed.")
    suspend: bool = Field(default=False, description="Save a checkpoint and free everything.")
    seed: Seed = Field(default=0, description="Seed of everything drawn at random.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_exactly_one(self, ("sft", "rl", "fusion"))
        if (self.rl is not None) != bool(self.rewards):
            raise ValueError("rewards belong to, and are required by, the method rl")
        if self.rl is not None:
            check_rewards(self.rewards, self.rl.modes, self.rl.max_completion_tokens)
        if self.fusion is not None and self.prompt.source is not PromptSource.QUESTION:
            raise ValueError(
                f"prompt.source ({self.prompt.source.value}): fusion learns from right answers to "
                "one question about clips of both classes: use source: Question"
            )
        if self.fusion is not None and self.answer.format is not FormatName.LETTER:
            raise ValueError(
                f"answer.format ({self.answer.format.value}): fusion writes right answers about "
                "clips of both classes, as letters: use format: Letter"
            )
        if self.rl is None and self.checkpoint.keep_best:
            raise ValueError(
                f"checkpoint.keepBest ({self.checkpoint.keep_best}) goes by held-out accuracy, "
                "which only the method rl measures: leave it out"
            )
        if self.sft is not None:
            check_idle(self.placement, ENGINE_FIELDS, ENGINE_ONLY)
        batch = self.sft or self.fusion
        if batch is not None and batch.examples_per_step % self.placement.learners:
            raise ValueError(
                f"examplesPerStep ({batch.examples_per_step}) must be a multiple of "
                f"placement.learners ({self.placement.learners})"
            )
        trackers = [tracker.type.value for tracker in self.tracking]
        if len(set(trackers)) != len(trackers):
            raise ValueError(f"tracking: each type once, found {', '.join(trackers)}")
        if self.model.scratch is not None and self.sft is None:
            raise ValueError("model.scratch knows nothing yet: it needs the method sft")
        if self.model.scratch is not None and (self.lora or self.freeze_vision_tower):
            raise ValueError(
                "model.scratch has random weights: train them all "
                "(no lora, freezeVisionTower: false)"
            )
        return self

    @property
    def total_steps(self) -> int:
        """Steps of the stage: of the optimiser, or, with rl, rollout batches."""
        method = self.sft or self.rl or self.fusion
        assert method is not None
        return method.steps

    @property
    def num_updates(self) -> int:
        """Optimiser steps of the stage, at most."""
        return self.total_steps * (self.rl.updates_per_batch if self.rl is not None else 1)


class TrainingStageStatus(WorkStatus):
    """How far the stage is."""

    checkpoint: int | None = Field(default=None, description="Step of the newest checkpoint.")
    step: int = Field(default=0, description="Optimiser steps done.")
    total_steps: int = Field(default=0, description="Optimiser steps in all.")
    source_commit: Commit = Field(
        default=None, description="Commit of the model of the Hub that spec.model.uri names."
    )
    model_digest: str | None = Field(default=None, description="Digest of the resulting model.")
    model_uri: str | None = Field(default=None, description="URL of the resulting model.")


class TrainingStage(Model):
    """One training stage."""

    api_version: Literal["assay.dev/v1alpha1"] = Field(default=API_VERSION, description="Group.")
    kind: Literal["TrainingStage"] = Field(default="TrainingStage", description="Kind.")
    metadata: Metadata = Field(description="Name and labels.")
    spec: TrainingStageSpec = Field(description="What is wanted.")
    status: TrainingStageStatus = Field(default=TrainingStageStatus(), description="What is.")
