"""How a stage is run: where, how often it is saved and tried again, and what must come before."""

from typing import Literal

from pydantic import Field, field_validator

from assay_api.base import MAX_STEPS, Model, Name, ThinkingMode

NO_TENSOR_PARALLEL = (
    "a rollout engine uses one GPU, tensor parallelism is not supported yet: raise rollouts instead"
)
"""Why `gpusPerRollout` is 1."""


class Placement(Model):
    """Where the stage runs and how it is spread."""

    pool: str = Field(
        default="default",
        min_length=1,
        max_length=63,
        description="Node pool, by name, of the Helm values.",
    )
    learners: int = Field(default=1, ge=1, le=1024, description="Learner processes.")
    rollouts: int = Field(default=1, ge=1, le=1024, description="Rollout engines (RL, fusion).")
    gpus_per_rollout: int = Field(
        default=1,
        ge=1,
        le=16,
        description="GPUs of one rollout engine: 1. Tensor parallelism is not supported yet.",
    )
    micro_batch: int = Field(
        default=8,
        ge=1,
        le=100_000,
        description="Completions (or examples) in one forward of one learner.",
    )
    zero_stage: Literal[0, 1, 2] = Field(
        default=2, description="DeepSpeed ZeRO stage; weights stay whole on every learner."
    )
    precision: Literal["Float32", "BFloat16"] = Field(
        default="BFloat16", description="Number format of weights and activations."
    )

    @field_validator("gpus_per_rollout")
    @classmethod
    def _one_gpu(cls, value: int) -> int:
        if value != 1:
            raise ValueError(f"got {value}, allowed: 1; {NO_TENSOR_PARALLEL}")
        return value


class Checkpoint(Model):
    """When the whole training state is saved."""

    every: int = Field(
        default=20, ge=1, le=MAX_STEPS, description="Steps between checkpoints; also at the end."
    )
    keep: int = Field(default=2, ge=1, le=10_000, description="Newest checkpoints that are kept.")
    keep_best: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="Checkpoints with the best held-out accuracy that are kept besides (rl only).",
    )


class Retry(Model):
    """How many new attempts each class of failure is worth."""

    preemption: int = Field(default=20, ge=0, le=10_000, description="Attempts after a preemption.")
    infrastructure: int = Field(
        default=5, ge=0, le=10_000, description="Attempts after a node, network or engine failure."
    )
    application: int = Field(
        default=0, ge=0, le=10_000, description="Attempts after the stage's own error."
    )


class Gate(Model):
    """An evaluation that must have passed before the stage may start."""

    evaluation: Name = Field(description="Name of the Evaluation.")
    mode: ThinkingMode = Field(default=ThinkingMode.THINK, description="Thinking mode it counts.")
    min_accuracy: float = Field(ge=0, le=1, description="Least accuracy that passes.")
