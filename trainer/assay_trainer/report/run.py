"""What the report shows: everything that was found in a store, and nothing that was not."""

from dataclasses import dataclass

from assay_api import Completion, ResolvedEvaluationJob, ResolvedStageJob
from assay_data.dataset.overview import Overview
from assay_trainer.evaluation.summary import EvaluationResult
from assay_trainer.metrics_log import Progress
from assay_trainer.rollout_log import LoggedGroup


@dataclass(frozen=True, slots=True)
class SampledGroup:
    """A rollout group beside the frames that the model saw."""

    group: LoggedGroup
    frames: tuple[str, ...]
    """Keys of the frames in `Run.images`; empty if the dataset is not at hand."""


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What a stage left behind so far."""

    name: str
    job: ResolvedStageJob | None
    """Orders of the newest attempt."""
    completion: Completion | None
    progress: Progress | None
    metrics: dict[int, dict[str, float]]
    """Numbers by name, by step."""
    num_logged_steps: int
    """Steps whose rollouts were logged."""
    samples: dict[int, tuple[SampledGroup, ...]]
    """Some groups of some steps, by step."""

    @property
    def num_sampled_groups(self) -> int:
        """Groups that are shown, over all steps."""
        return sum(len(groups) for groups in self.samples.values())

    @property
    def method(self) -> str:
        """Name of the training method, or a dash before the orders are known."""
        if self.job is None:
            return "-"
        spec = self.job.stage.spec
        return next(name for name in ("sft", "rl", "fusion") if getattr(spec, name) is not None)


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """What an evaluation left behind so far."""

    name: str
    job: ResolvedEvaluationJob | None
    result: EvaluationResult | None
    progress: Progress | None
    """How many answers there are."""
    history: tuple[EvaluationResult, ...] = ()
    """All results of an evaluation with a schedule, by training step."""


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """A finished dataset."""

    digest: str
    """Digest of the whole."""
    overview: Overview
    sheet: str
    """Key of the contact sheet in `Run.images`."""
    num_shown: int
    """Clips on the contact sheet."""


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run, as far as it got."""

    url: str
    stages: tuple[StageRecord, ...]
    """In the order in which they build on one another."""
    evaluations: tuple[EvaluationRecord, ...]
    datasets: dict[str, DatasetRecord | None]
    """By name; None while it is being made."""
    images: dict[str, str]
    """Data URIs of all pictures that are shown, each once, by key."""
    progress: dict[str, Progress | None]
    """How far the making of each dataset is or was, by name."""
