"""Gates: evaluations that must have passed before a stage may start."""

from assay_api import Completion, Evaluation
from assay_api.layout import ResourceId, accuracy_key
from assay_api.running import Gate
from assay_api.stage import TrainingStage
from assay_operator.conditions import Reason, State, Verdict
from assay_operator.observed import Observed


def closed_gate(stage: TrainingStage, observed: Observed) -> Verdict | None:
    """Return why a gate keeps the stage from starting; None when all are open.

    A result that is missing, or that lacks the mode that counts, is never a pass.
    """
    for gate in stage.spec.gate:
        closed = _why_closed(gate, observed)
        if closed:
            return Verdict(State.BLOCKED, Reason.GATE_NOT_PASSED, closed)
    return None


def _why_closed(gate: Gate, observed: Observed) -> str | None:
    evaluation = ResourceId("Evaluation", gate.evaluation)
    completion = observed.completion(evaluation)
    if completion is None:
        return f"{evaluation} has no result yet"
    stale = _of_another_model(evaluation, completion, observed)
    if stale:
        return f"{evaluation} {stale}"
    accuracy = completion.summary.get(accuracy_key(gate.mode))
    if not isinstance(accuracy, int | float):
        return (
            f"{evaluation} has no accuracy of the mode {gate.mode}; add it to its spec.modes, and "
            "labels to its dataset if it has none"
        )
    if accuracy < gate.min_accuracy:
        return (
            f"{evaluation} has accuracy {accuracy:.3f} in mode {gate.mode}, "
            f"minAccuracy is {gate.min_accuracy}; train the stage before further, or lower the gate"
        )
    return None


def _of_another_model(
    evaluation: ResourceId, completion: Completion, observed: Observed
) -> str | None:
    """Return why a result does not speak of the stage's finished model; None: it does.

    What an evaluation with a schedule says of a checkpoint is no completion, and never seen here.
    """
    found = observed.resources.get(evaluation)
    if not isinstance(found, Evaluation) or found.spec.model.from_stage is None:
        return None
    stage = ResourceId("TrainingStage", found.spec.model.from_stage)
    finished = observed.completion(stage)
    if finished is None:
        return f"has a result, but {stage}, which it speaks of, has not finished"
    if completion.digest != finished.digest:
        return f"has a result of another model than that of {stage}; it is to be evaluated again"
    return None
