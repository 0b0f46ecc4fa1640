"""Memory of one learner: what DeepSpeed and the forward hold on its GPU, term by term.

Source: `assay_trainer.learner.deepspeed_engine` (the configuration) and DeepSpeed 0.19.8
(runtime/engine.py, runtime/zero/stage_1_and_2.py, runtime/fp16/unfused_optimizer.py).

Letters: N parameters, P trained parameters, W learners that share the optimiser's state (1 for ZeRO
stage 0), s bytes of a number.
"""

import math
from dataclasses import dataclass

from assay_operator.sizing.activations import (
    TRAINER,
    MicroBatch,
    Trained,
    layer_backward_bytes,
    logit_bytes,
    text_bytes,
    vision_bytes,
)
from assay_operator.sizing.shape import ModelShape
from assay_operator.sizing.terms import Moment, Term, in_millions
from assay_operator.sizing.visual import Clip

REDUCE_BUCKET = 500_000_000
"""Gradients that DeepSpeed reduces at a time (`reduce_bucket_size`); stages 1 and 2 hold room for
all of them, however few there are."""

_BACKWARD = (Moment.BACKWARD,)
_STEP = (Moment.STEP,)


@dataclass(frozen=True, slots=True)
class LearnerJob:
    """What one learner does in a step."""

    shape: ModelShape
    number_bytes: int
    trained: Trained
    trained_parameters: int
    zero_stage: int
    learners: int
    batch: MicroBatch
    micro_batches: int
    """Of one learner in one step."""
    clips: int
    """Different clips among them."""
    clip: Clip
    on_gpu: bool = True
    frozen_copy: bool = False
    """Whether a second copy of the weights is the reference policy."""


def learner_terms(job: LearnerJob) -> list[Term]:
    """Return the terms of a learner's memory."""
    return [*_weights(job), *_optimizer(job), *_gradients(job), *_forward(job)]


def _weights(job: LearnerJob) -> list[Term]:
    count, s = job.shape.parameters, job.number_bytes
    terms = [Term("weights", count * s, f"{in_millions(count)} x {s} bytes, whole on each learner")]
    if job.frozen_copy:
        told = f"{in_millions(count)} x {s} bytes, a frozen copy of the start model"
        terms.append(Term("reference", count * s, told))
    if job.trained.rank:
        adapters = job.trained_parameters
        terms.append(
            Term(
                "adapters",
                adapters * s,
                f"rank {job.trained.rank} on {len(job.trained.targets)} linears of "
                f"{job.shape.layers} layers: {in_millions(adapters)} x {s} bytes",
            )
        )
    return terms


def _optimizer(job: LearnerJob) -> list[Term]:
    """AdamW: a float32 copy of the weights (not at stage 0 in Float32) and two moments."""
    share = _share(job)
    copies = 2 if job.zero_stage == 0 and job.number_bytes == 4 else 3
    parts = "two moments" if copies == 2 else "float32 copy and two moments"
    return [
        Term(
            "optimiser",
            share * 4 * copies,
            f"{parts}: {4 * copies} bytes x {_of_trained(job)}",
        )
    ]


def _gradients(job: LearnerJob) -> list[Term]:
    """Gradients as DeepSpeed keeps them, and the optimiser step's temporary copies.

    Stage 2: the share of this learner, twice from the second micro-batch on (so far, and new).
    Stages 0 and 1: all of them, until the step. The step: the share flattened (stages 1 and 2), in
    float32 (in BFloat16), and AdamW's square root.
    """
    trained, s, share = job.trained_parameters, job.number_bytes, _share(job)
    terms = []
    if job.zero_stage == 2:
        copies = 2 if job.micro_batches > 1 else 1
        why = f"{copies} x {s} bytes x {_of_trained(job)}"
        terms.append(Term("gradients", copies * s * share, why, _BACKWARD))
        terms.append(Term("gradients", s * share, f"{s} bytes x {_of_trained(job)}", _STEP))
    else:
        why = f"{s} bytes x {in_millions(trained)} trained"
        terms.append(Term("gradients", s * trained, why))
    if job.zero_stage:
        # On a CPU pages that nothing was written to take no memory.
        bucket = REDUCE_BUCKET if job.on_gpu else min(REDUCE_BUCKET, trained)
        why = f"DeepSpeed's bucket: {bucket:,} x {s} bytes"
        terms.append(Term("gradient bucket", bucket * s, why, _BACKWARD))
    elif job.learners > 1:
        bucket = min(REDUCE_BUCKET, trained) * s
        terms.append(Term("gradient bucket", bucket, "sent to the other learners at once", _STEP))
    flat = s if job.zero_stage else 0
    as_float = 4 if s != 4 else 0
    terms.append(
        Term(
            "step's copies",
            (flat + as_float + 4) * share,
            f"{flat} flattened + {as_float} as float32 + 4 square root, bytes x {_of_trained(job)}",
            _STEP,
        )
    )
    return terms


def _forward(job: LearnerJob) -> list[Term]:
    """What a micro-batch's forward keeps, and what its backward needs at once."""
    shape, s, batch = job.shape, job.number_bytes, job.batch
    tokens = batch.tokens(TRAINER)
    kept = text_bytes(shape, s, job.trained, batch)
    row = f"{batch.prompt_tokens} prompt + {batch.completion_tokens} completion tokens"
    terms = [
        Term(
            "activations",
            kept,
            f"{batch.rows} rows of {row}, {kept / tokens / 2**20:.2f} MiB a token",
            _BACKWARD,
        ),
        Term(
            "logits or a layer's gradients",
            max(
                logit_bytes(shape, batch.rows * batch.completion_tokens),
                layer_backward_bytes(shape, s, tokens),
            ),
            "the larger of a chunk of 1,024 rows of logits and one layer's backward",
            _BACKWARD,
        ),
    ]
    patches = job.clip.patches
    if job.trained.vision:
        terms.append(
            Term(
                "vision tower's activations",
                vision_bytes(shape, s, patches, batch.groups),
                f"{batch.groups} clips of {patches:,} patches",
                _BACKWARD,
            )
        )
    held = job.micro_batches * batch.groups
    pixels = Term(
        "pixels of the step",
        held * job.clip.pixel_bytes,
        f"{job.micro_batches} micro-batches x {batch.groups} clips x "
        f"{job.clip.pixel_bytes / 2**20:.1f} MiB, float32",
    )
    return [*terms, pixels]


def groups_in(rows: int, group_size: int) -> int:
    """Return the most prompts that some consecutive rows of a batch of whole groups can have.

    Example:
        >>> groups_in(8, 8), groups_in(6, 8), groups_in(16, 8), groups_in(1, 8)
        (1, 2, 2, 1)
    """
    if group_size % rows == 0 or rows % group_size == 0:
        return max(1, rows // group_size)
    return math.ceil((rows - 1) / group_size) + 1


def _share(job: LearnerJob) -> int:
    shards = job.learners if job.zero_stage else 1
    return math.ceil(job.trained_parameters / shards)


def _of_trained(job: LearnerJob) -> str:
    """Return the share of trained parameters that one learner keeps the state of, in words."""
    trained = f"{in_millions(job.trained_parameters)} trained"
    return f"{trained} / {job.learners} learners" if job.zero_stage else trained
