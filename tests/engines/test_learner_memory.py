"""What DeepSpeed holds after a step is what `assay plan` says."""

from pathlib import Path

import pytest

from assay_operator.sizing.activations import MicroBatch, Trained
from assay_operator.sizing.learner import LearnerJob, learner_terms
from assay_operator.sizing.model_lookup import read_shape
from assay_operator.sizing.visual import Clip

TARGETS = ("q_proj", "v_proj")


def held_bytes(optimizer) -> int:
    """Return the bytes of float32 copies and moments."""
    copies = getattr(optimizer, "single_partition_of_fp32_groups", [])
    states = optimizer.optimizer.state if copies else optimizer.state
    moments = [v for state in states.values() for v in state.values() if v.numel() > 1]
    return sum(t.numel() * t.element_size() for t in [*copies, *moments])


@pytest.mark.parametrize(
    ("zero_stage", "precision", "rank"),
    [(2, "BFloat16", 0), (2, "BFloat16", 8), (1, "Float32", 0), (0, "Float32", 0)],
)
def test_weights_float32_copy_and_moments(
    make_parts, draw_completions, zero_stage: int, precision: str, rank: int
) -> None:
    parts = make_parts(
        placement={"microBatch": 4, "zeroStage": zero_stage, "precision": precision},
        lora={"rank": rank, "targets": TARGETS} if rank else None,
    )
    batches = parts.micro_batches(draw_completions(parts, (5, 7, 3, 9)))
    parts.learner.update([(batch, lambda out: -out.logprobs.sum()) for batch in batches])
    shape = read_shape(Path(parts.stage.spec.model.uri) / "config.json")
    number_bytes = 2 if precision == "BFloat16" else 4
    trained = shape.lora_parameters(rank, TARGETS) if rank else shape.text_parameters
    terms = {
        term.name: term.num_bytes
        for term in learner_terms(
            LearnerJob(
                shape=shape,
                number_bytes=number_bytes,
                trained=Trained(not rank, vision=False, targets=TARGETS if rank else (), rank=rank),
                trained_parameters=trained,
                zero_stage=zero_stage,
                learners=1,
                batch=MicroBatch(4, 4, 100, 9),
                micro_batches=1,
                clips=4,
                clip=Clip(tokens=32, marks=2),
            )
        )
    }
    weights = sum(p.numel() * p.element_size() for p in parts.policy.model.parameters())
    assert weights == terms["weights"] + terms.get("adapters", 0)
    # DeepSpeed pads its flat copy to a few numbers.
    held = held_bytes(parts.learner._engine.optimizer)
    assert held == pytest.approx(terms["optimiser"], rel=5e-3)
