"""The custom resources of Assay as typed models. No I/O, nothing heavy.

The models are loaded when they are first asked for: building pydantic's validators takes half a
second, which `assay --help` does not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay_api.base import (
        API_VERSION,
        Condition,
        Metadata,
        Model,
        ModelRef,
        ModelSource,
        ScratchModel,
        Split,
        Status,
        ThinkingMode,
    )
    from assay_api.dataset import Dataset, FramePlan
    from assay_api.errors import (
        AssayError,
        EngineError,
        EngineLostError,
        InvalidInput,
        JudgeError,
        NothingToLearnError,
        StoreError,
        WorkloadError,
    )
    from assay_api.evaluation import Evaluation
    from assay_api.pipeline import TrainingPipeline
    from assay_api.resolved import (
        Completion,
        ResolvedDatasetJob,
        ResolvedEvaluationJob,
        ResolvedJudge,
        ResolvedModel,
        ResolvedStageJob,
        ResolvedStart,
        StopRequest,
        WatchedStage,
    )
    from assay_api.reward_model import RewardModel
    from assay_api.stage import TrainingStage

_MODULES = (
    "base",
    "dataset",
    "errors",
    "evaluation",
    "pipeline",
    "resolved",
    "reward_model",
    "stage",
)

__all__ = [
    "API_VERSION",
    "AssayError",
    "Completion",
    "Condition",
    "Dataset",
    "EngineError",
    "EngineLostError",
    "Evaluation",
    "FramePlan",
    "InvalidInput",
    "JudgeError",
    "Metadata",
    "Model",
    "ModelRef",
    "ModelSource",
    "NothingToLearnError",
    "ResolvedDatasetJob",
    "ResolvedEvaluationJob",
    "ResolvedJudge",
    "ResolvedModel",
    "ResolvedStageJob",
    "ResolvedStart",
    "RewardModel",
    "ScratchModel",
    "Split",
    "Status",
    "StopRequest",
    "StoreError",
    "ThinkingMode",
    "TrainingPipeline",
    "TrainingStage",
    "WatchedStage",
    "WorkloadError",
]


def __getattr__(name: str) -> object:
    """Return an exported name from the module that defines it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Errors first: they are what light programs ask for.
    for module in sorted(_MODULES, key="errors".__ne__):
        found = getattr(import_module(f"{__name__}.{module}"), name, None)
        if found is not None:
            return found
    raise AttributeError(f"no module of {__name__!r} defines {name!r}")
