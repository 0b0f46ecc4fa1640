"""RewardModel: a judge of reasoning, or a verifier of sentences, behind a server."""

from typing import Literal, Self

from pydantic import Field, model_validator

from assay_api.base import (
    API_VERSION,
    MAX_TOKENS,
    Commit,
    Metadata,
    Model,
    ModelRef,
    Status,
    check_exactly_one,
    check_idle,
)
from assay_api.judge_prompt import JudgeTemplate, check_template

Protocol = Literal["Chat", "Pairs", "ChatPairs"]
"""How a reward model is asked: about reasoning, or about pairs of premise and hypothesis."""

SERVED_FIELDS = ("max_model_length_tokens", "port", "start_timeout_seconds", "precision", "pool")
SERVED_ONLY = "on a judge that Assay serves, from model"
CHAT_FIELDS = ("num_frames",)
CHAT_ONLY = "with protocol: Chat"
ASKED_FIELDS = ("prompt_template",)
ASKED_ONLY = "with protocol: Chat or ChatPairs"
PAIRS_FIELDS = ("pairs_per_request",)
PAIRS_ONLY = "with protocol: Pairs"
DEFAULT_CONCURRENCY: dict[Protocol, int] = {"Chat": 16, "Pairs": 2, "ChatPairs": 16}
"""Requests in flight where nothing is said. A verifier works on one request at a time, so more than
two would only wait, and might wait for longer than a request may take."""


class Endpoint(Model):
    """A judge that somebody else serves."""

    url: str = Field(
        pattern=r"^https?://", max_length=1024, description="Base URL, up to and including /v1."
    )
    model: str = Field(
        min_length=1, max_length=256, description="Model name that the server knows."
    )


class RewardModelSpec(Model):
    """The judge or verifier, served from `model` or reached at `endpoint`: exactly one of them."""

    model: ModelRef | None = Field(default=None, description="Weights for Assay to serve.")
    endpoint: Endpoint | None = Field(default=None, description="A server that already runs.")
    protocol: Protocol = Field(
        default="Chat",
        description="How it is asked. Chat: an OpenAI-compatible chat model scores reasoning. "
        "Pairs: a verifier scores how far a premise supports a hypothesis, by /score as vLLM "
        "speaks it (HHEM-2.1-Open, or a cross-encoder that vLLM serves). ChatPairs: the same, "
        "where a chat model is asked for the verdict on each pair.",
    )
    num_frames: int = Field(
        default=4,
        ge=0,
        le=64,
        description="Frames shown to the judge as images, evenly spaced; 0: it reads text only.",
    )
    prompt_template: JudgeTemplate | None = Field(
        default=None,
        description="What the judge is asked. {question}, {reasoning} and {images} stand for the "
        "stage's question, the whole completion to judge, and the frames. The judge must answer "
        "<answer>SCORE</answer>, from 0 to 1. Unset: the spec.sft.promptTemplate of the stage that "
        "trained it, else the words of SophiaVL-R1. With ChatPairs {question} stands for the "
        "premise and {reasoning} for the hypothesis, and the default asks for 1, 0.5 or 0.",
    )
    max_model_length_tokens: int = Field(
        default=8192, ge=256, le=MAX_TOKENS, description="Context of the served model."
    )
    port: int = Field(
        default=0, ge=0, le=65535, description="Port on this machine; 0: any that is free."
    )
    pairs_per_request: int = Field(
        default=64, ge=1, le=1024, description="Pairs in one request, with Pairs."
    )
    concurrency: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Requests in flight. Unset: 16, with Pairs 2: such a server works on one "
        "request at a time.",
    )
    timeout_seconds: float = Field(
        default=60, gt=0, le=3600, description="Deadline of one request, retries not counted."
    )
    retries: int = Field(default=3, ge=0, le=20, description="Tries again after a failed request.")
    start_timeout_seconds: float = Field(
        default=600, gt=0, le=7200, description="A server that is not ready by then has failed."
    )
    precision: Literal["Float32", "BFloat16"] = Field(
        default="BFloat16", description="Number format of the served weights."
    )
    pool: str = Field(
        default="default",
        max_length=63,
        description="Node pool that serves it, by name, of the Helm values. On a cluster only.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_exactly_one(self, ("model", "endpoint"))
        if self.endpoint is not None:
            check_idle(self, SERVED_FIELDS, SERVED_ONLY)
        if self.protocol != "Chat":
            check_idle(self, CHAT_FIELDS, CHAT_ONLY)
        if self.protocol == "Pairs":
            check_idle(self, ASKED_FIELDS, ASKED_ONLY)
        else:
            check_idle(self, PAIRS_FIELDS, PAIRS_ONLY)
        check_template(self.prompt_template, self.num_images, "numFrames")
        return self

    @property
    def num_images(self) -> int:
        """Frames that it is shown: none of pairs, which are text."""
        return self.num_frames if self.protocol == "Chat" else 0


class RewardModelStatus(Status):
    """Where the judge answers."""

    url: str | None = Field(default=None, description="Base URL, up to and including /v1.")
    source_commit: Commit = Field(
        default=None, description="Commit of the model of the Hub that spec.model.uri names."
    )


class RewardModel(Model):
    """A judge of reasoning, or a verifier of sentences, that scores between 0 and 1."""

    api_version: Literal["assay.dev/v1alpha1"] = Field(default=API_VERSION, description="Group.")
    kind: Literal["RewardModel"] = Field(default="RewardModel", description="Kind.")
    metadata: Metadata = Field(description="Name and labels.")
    spec: RewardModelSpec = Field(description="What is wanted.")
    status: RewardModelStatus = Field(default=RewardModelStatus(), description="What is.")
