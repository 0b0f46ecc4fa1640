"""The learner's memory, by hand; tests/engines compares it with what DeepSpeed holds."""

from dataclasses import replace

import pytest

from assay_operator.sizing.activations import MicroBatch, Trained
from assay_operator.sizing.learner import LearnerJob, groups_in, learner_terms
from assay_operator.sizing.shape import KNOWN
from assay_operator.sizing.terms import Moment, peak
from assay_operator.sizing.visual import Clip

SEVEN = KNOWN["Qwen2.5-VL-7B"]
N = 8_292_166_656
TEXT = 7_615_616_512


def job(zero_stage: int = 2, learners: int = 4, number_bytes: int = 2) -> LearnerJob:
    return LearnerJob(
        shape=SEVEN,
        number_bytes=number_bytes,
        trained=Trained(full=True, vision=False),
        trained_parameters=TEXT,
        zero_stage=zero_stage,
        learners=learners,
        batch=MicroBatch(rows=1, groups=1, prompt_tokens=1500, completion_tokens=750),
        micro_batches=64,
        clips=8,
        clip=Clip(tokens=1352, marks=2),
    )


def sizes(one: LearnerJob, moment: Moment) -> dict[str, int]:
    return {t.name: t.num_bytes for t in learner_terms(one) if moment in t.moments}


def test_zero_stage_2_in_bfloat16() -> None:
    backward = sizes(job(), Moment.BACKWARD)
    share = TEXT // 4
    assert backward["weights"] == 2 * N
    assert backward["optimiser"] == 12 * share
    assert backward["gradients"] == 2 * 2 * share
    assert backward["gradient bucket"] == 1_000_000_000
    # 1352 tokens x 4 patches x 1176 float32, one clip in each of 64 micro-batches.
    assert backward["pixels of the step"] == 64 * 1352 * 4 * 1176 * 4
    step = sizes(job(), Moment.STEP)
    assert step["gradients"] == 2 * share
    assert step["step's copies"] == (2 + 4 + 4) * share
    assert "activations" not in step


def test_zero_stage_1_keeps_all_gradients_until_the_step() -> None:
    for moment in Moment:
        assert sizes(job(zero_stage=1), moment)["gradients"] == 2 * TEXT
        assert sizes(job(zero_stage=1), moment)["optimiser"] == 12 * TEXT // 4


def test_a_frozen_copy_of_the_start_model_is_counted_in_its_number_format() -> None:
    alone, both = (
        sizes(replace(job(), frozen_copy=copied), Moment.STEP) for copied in (False, True)
    )
    assert both == alone | {"reference": both["weights"]}


def test_zero_stage_0_divides_nothing_among_learners() -> None:
    bfloat, float32 = job(zero_stage=0), job(zero_stage=0, number_bytes=4)
    assert sizes(bfloat, Moment.STEP)["optimiser"] == 12 * TEXT
    # In Float32 the weights themselves are what AdamW changes: there is no copy.
    assert sizes(float32, Moment.STEP)["optimiser"] == 8 * TEXT
    assert "gradient bucket" not in sizes(bfloat, Moment.BACKWARD)
    assert sizes(bfloat, Moment.STEP)["gradient bucket"] == 500_000_000 * 2
    assert "gradient bucket" not in sizes(replace(bfloat, learners=1), Moment.STEP)


def test_the_7b_model_in_full_on_one_learner_is_beyond_any_gpu_of_80_gib() -> None:
    moment, needed = peak(learner_terms(job(learners=1)))
    # 16 bytes of weights, copy and moments for each trained parameter alone are 113 GiB.
    assert needed > 16 * TEXT
    assert moment is Moment.STEP


def test_logits_of_a_chunk() -> None:
    one = replace(job(), batch=MicroBatch(2, 1, 100, 750))
    assert sizes(one, Moment.BACKWARD)["logits or a layer's gradients"] == 1024 * 152_064 * 16


@pytest.mark.parametrize(
    ("rows", "group_size", "groups"), [(8, 8, 1), (4, 8, 1), (16, 8, 2), (6, 8, 2), (3, 1, 3)]
)
def test_a_micro_batch_spans_so_many_groups(rows: int, group_size: int, groups: int) -> None:
    assert groups_in(rows, group_size) == groups
