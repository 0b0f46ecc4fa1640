"""The custom resources of Assay as typed models. No I/O, nothing heavy."""

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
    InvalidInput,
    JudgeError,
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
)
from assay_api.reward_model import RewardModel
from assay_api.stage import TrainingStage

__all__ = [
    "API_VERSION",
    "AssayError",
    "Completion",
    "Condition",
    "Dataset",
    "EngineError",
    "Evaluation",
    "FramePlan",
    "InvalidInput",
    "JudgeError",
    "Metadata",
    "Model",
    "ModelRef",
    "ModelSource",
    "ResolvedDatasetJob",
    "ResolvedEvaluationJob",
    "ResolvedJudge",
    "ResolvedModel",
    "ResolvedStageJob",
    "RewardModel",
    "ScratchModel",
    "Split",
    "Status",
    "StoreError",
    "ThinkingMode",
    "TrainingPipeline",
    "TrainingStage",
    "WorkloadError",
]
