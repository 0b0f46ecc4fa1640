"""What to change in a stage that does not fit: changes that were tried and help, with numbers."""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import TypeVar

from assay_api import Dataset, TrainingStage
from assay_api.running import Placement
from assay_api.stage import Lora
from assay_operator.sizing.stage_plan import StagePlan
from assay_operator.sizing.terms import GIB

Planner = Callable[[TrainingStage, Dataset], StagePlan]
"""Plans a changed stage on the same pool."""

T = TypeVar("T")

_Change = tuple[str, Callable[[TrainingStage], TrainingStage], Callable[[Dataset], Dataset]]
_MOST_SHOWN = 3
_MOST_AT_ONCE = 3


def advice(stage: TrainingStage, dataset: Dataset, plan: Planner) -> list[str]:
    """Return the changes that make the stage fit, as few at once as can be; or that none does.

    Args:
        stage: the stage, which does not fit.
        dataset: its dataset.
        plan: plans a changed stage.
    """
    changes = list(_changes(stage, dataset))
    for count in range(1, _MOST_AT_ONCE + 1):
        found = []
        for chosen in combinations(changes, count):
            text = _tried(stage, dataset, chosen, plan)
            if text is not None:
                found.append(text)
        if found:
            return found[:_MOST_SHOWN]
    return [
        "no change that was tried is enough (smaller micro-batch, LoRA, more learners, fewer "
        "frames): take a smaller model, or GPUs with more memory"
    ]


def _tried(
    stage: TrainingStage, dataset: Dataset, chosen: tuple[_Change, ...], plan: Planner
) -> str | None:
    fields = [text.partition(":")[0] for text, _, _ in chosen]
    if len(set(fields)) != len(fields):
        return None
    for _, change_stage, change_dataset in chosen:
        stage, dataset = change_stage(stage), change_dataset(dataset)
    found = plan(stage, dataset)
    if found.problems:
        return None
    needed, there = found.learner_peak[1] / GIB, found.learner_available / GIB
    numbers = f" (learner GPU {needed:.1f} of {there:.1f} GiB)" if there else ""
    return f"{' and '.join(text for text, _, _ in chosen)}{numbers}"


def _changes(stage: TrainingStage, dataset: Dataset) -> Iterator[_Change]:
    """Yield single changes, those that cost least first."""
    placement = stage.spec.placement
    micro = placement.micro_batch // 2
    while micro:
        yield _placement("microBatch", {"micro_batch": micro})
        micro //= 2
    if placement.zero_stage != 2:
        yield _placement("zeroStage", {"zero_stage": 2})
    for factor in (2, 4):
        learners = placement.learners * factor
        batch = stage.spec.sft or stage.spec.fusion
        if batch is None or batch.examples_per_step % learners == 0:
            yield _placement("learners", {"learners": learners})
    if placement.rollouts > 1:
        # Room for a judge beside it.
        yield _placement("rollouts", {"rollouts": placement.rollouts - 1})
    for factor in (2, 4):
        for name in ("learners", "rollouts"):
            fewer = getattr(placement, name) // factor
            if fewer:
                yield _placement(name, {name: fewer})
    if stage.spec.lora is None and stage.spec.model.scratch is None:
        yield "spec.lora: {rank: 16}", _with_lora, _same
    frames = dataset.spec.frames.count // 2
    if frames >= 2 and frames % 2 == 0:
        yield f"Dataset/{dataset.metadata.name} spec.frames.count: {frames}", _same, _fewer_frames


def _placement(name: str, update: dict[str, int]) -> _Change:
    def change(stage: TrainingStage) -> TrainingStage:
        placement: Placement = stage.spec.placement.model_copy(update=update)
        return _with(stage, placement=placement)

    return f"spec.placement.{name}: {next(iter(update.values()))}", change, _same


def _with_lora(stage: TrainingStage) -> TrainingStage:
    return _with(stage, lora=Lora(rank=16))


def _with(stage: TrainingStage, **update: object) -> TrainingStage:
    return stage.model_copy(update={"spec": stage.spec.model_copy(update=update)})


def _fewer_frames(dataset: Dataset) -> Dataset:
    spec = dataset.spec
    frames = spec.frames.model_copy(update={"count": spec.frames.count // 2})
    return dataset.model_copy(update={"spec": spec.model_copy(update={"frames": frames})})


def _same(value: T) -> T:
    return value
