"""A workload's orders: a resource with every reference replaced by what it stands for.

The operator (or the local run) writes one, the container reads it (`assay train --stage FILE`).
References by name are gone: what is left are URLs and digests, which do not change under a run.
"""

from typing import Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from assay_api.answers import Answer
from assay_api.base import Model, ScratchModel, check_exactly_one
from assay_api.dataset import Dataset
from assay_api.evaluation import Evaluation
from assay_api.judge_prompt import SOPHIAVL_PROMPT
from assay_api.prompt import Prompt
from assay_api.reward_model import Protocol
from assay_api.stage import Lora, TrainingStage


class ResolvedModel(Model):
    """A model at an address, with the digest of what is expected there."""

    uri: str = Field(description="Folder or URL of a Hugging Face checkpoint.")
    digest: str | None = Field(default=None, description="SHA-256 recorded when it was made.")


class ResolvedJudge(Model):
    """A reward model that answers."""

    name: str = Field(description="Name of the RewardModel.")
    url: str = Field(description="Base URL, up to and including /v1.")
    model: str = Field(description="Model name that the server knows.")
    num_frames: int = Field(description="Frames shown as images.")
    prompt_template: str = Field(
        default=SOPHIAVL_PROMPT,
        description="What it is asked, with {question}, {reasoning} and {images} in it.",
    )
    protocol: Protocol = Field(default="Chat", description="How it is asked.")
    pairs_per_request: int = Field(default=64, description="Of a verifier: pairs of a request.")
    concurrency: int = Field(description="Requests in flight.")
    timeout_seconds: float = Field(description="Deadline of one request.")
    retries: int = Field(description="Tries again after a failed request.")


class ResolvedDatasetJob(Model):
    """Orders to make a dataset."""

    kind: Literal["DatasetJob"] = Field(default="DatasetJob", description="Kind.")
    dataset: Dataset = Field(description="The resource.")
    output: str = Field(description="URL of the folder that becomes the dataset.")


class ResolvedStageJob(Model):
    """Orders to run one attempt of a training stage."""

    kind: Literal["StageJob"] = Field(default="StageJob", description="Kind.")
    stage: TrainingStage = Field(description="The resource.")
    attempt: int = Field(ge=1, description="Number of this attempt.")
    model: ResolvedModel | None = Field(description="The model to start from; unset: scratch.")
    dataset: str = Field(description="URL of the dataset.")
    judges: tuple[ResolvedJudge, ...] = Field(default=(), description="Reward models.")
    output: str = Field(description="URL of the stage's folder: checkpoints, metrics, model.")


class StopRequest(Model):
    """Asks one attempt of a stage to save a checkpoint and to end: `stops/attempt-N.json`."""

    uid: str = Field(description="`metadata.uid` of the stage: one made later has another.")
    requested_at: AwareDatetime = Field(description="When it was asked, with its time zone.")


class ResolvedStart(Model):
    """What a stage's checkpoints are loaded into, and how its model is asked."""

    model: ResolvedModel | None = Field(description="The model it starts from; unset: scratch.")
    scratch: ScratchModel | None = Field(default=None, description="Sizes of one from scratch.")
    dataset: str = Field(description="URL of the stage's dataset.")
    prompt: Prompt = Field(description="The question about each clip.")
    answer: Answer = Field(default=Answer(), description="How answers are written and scored.")
    lora: Lora | None = Field(default=None, description="Its adapters; unset: it trains in full.")
    precision: str = Field(description="Number format of its weights: Float32 or BFloat16.")


class WatchedStage(Model):
    """A stage whose newest model is looked for when a schedule is due, not before."""

    name: str = Field(description="Name of the TrainingStage.")
    url: str = Field(description="URL of its folder: checkpoints, and the model at its end.")
    start: ResolvedStart | None = Field(
        default=None, description="Unset: not known any more; only its finished model can be used."
    )


class ResolvedEvaluationJob(Model):
    """Orders to evaluate a model, or whatever is new of a stage."""

    kind: Literal["EvaluationJob"] = Field(default="EvaluationJob", description="Kind.")
    evaluation: Evaluation = Field(description="The resource.")
    model: ResolvedModel | None = Field(default=None, description="The model, if it is one.")
    watched: WatchedStage | None = Field(default=None, description="The stage, if it is one.")
    dataset: str = Field(description="URL of the dataset.")
    output: str = Field(description="URL of the evaluation's folder.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        check_exactly_one(self, ("model", "watched"))
        return self


class Completion(Model):
    """Proof that a workload finished: written last, into its output folder, as completion.json."""

    spec_digest: str = Field(description="SHA-256 of the spec (and inputs' digests) that was run.")
    digest: str = Field(description="SHA-256 over the result's files and their SHA-256.")
    result: str = Field(description="Path of the result, relative to the output folder.")
    summary: dict[str, float | int | str] = Field(
        default_factory=dict, description="Numbers worth showing, by name."
    )
