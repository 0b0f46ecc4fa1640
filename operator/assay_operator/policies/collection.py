"""Collection: whether a fusion stage has still to sample what it learns from."""

from assay_api.references import identify
from assay_api.stage import TrainingStage
from assay_operator.observed import Observed
from assay_operator.policies.identity import current_digest


def must_collect(stage: TrainingStage, observed: Observed) -> bool:
    """Tell whether the stage's next workload is the one that samples.

    On a cluster sampling needs rollout engines and the training after it does not, so they are
    two workloads. Samples of another spec, or of other inputs, don't count.
    """
    if stage.spec.fusion is None or not observed.on_cluster:
        return False
    return observed.collected.get(identify(stage)) != current_digest(stage, observed)
