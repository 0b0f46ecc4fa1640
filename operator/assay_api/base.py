"""What every custom resource shares: naming, strictness, metadata, conditions."""

import re
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

API_VERSION: Literal["assay.dev/v1alpha1"] = "assay.dev/v1alpha1"

Name = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=40)]
"""A DNS-1035 label of at most 40 characters: a child's name adds an attempt to it (RayJob: 47)."""

Uri = Annotated[str, Field(min_length=1, max_length=1024)]
"""A path or a URL."""

HUB = "hf://"
"""What URIs of models of the Hugging Face Hub start with."""

HUB_URI = (
    r"hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9][A-Za-z0-9._/-]*)?"
)
"""Such a URI: owner and name, and possibly a revision (branch, tag or commit)."""


def check_hub_uri(uri: str) -> str:
    """Return the URI of a model of the Hub; raise ValueError if it is none."""
    if not re.fullmatch(HUB_URI, uri):
        raise ValueError(f"{uri!r} must be hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    return uri


def _check_model_uri(uri: str) -> str:
    return check_hub_uri(uri) if uri.startswith(HUB) else uri


ModelUri = Annotated[Uri, AfterValidator(_check_model_uri)]
"""A path or URL of a model, or its name on the Hub."""

Commit = Annotated[str | None, Field(max_length=64)]
"""Commit of a model of the Hub."""

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""A seed, as every generator takes it."""

MAX_STEPS = 10_000_000
"""Optimiser steps, at most: a bound so that every number fits everywhere."""

MAX_TOKENS = 1_048_576
"""Tokens of a context, at most."""

LabelKey = Annotated[
    str,
    Field(
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
    ),
]
"""Key of a Kubernetes label or annotation: an optional DNS prefix, and a name."""

LabelValue = Annotated[
    str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")
]
"""Value of a Kubernetes label."""

Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=64)]
"""Kubernetes labels."""


class Model(BaseModel):
    """Base of all parts of a resource: camelCase in YAML, unknown fields are errors, immutable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True
    )


class OneOf(Model):
    """A choice: exactly one of the fields is given. CEL enforces the same on a cluster."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        check_exactly_one(self, tuple(type(self).model_fields))
        return self


def check_exactly_one(model: Model, fields: tuple[str, ...]) -> None:
    """Raise ValueError unless exactly one of the named fields of the model is given."""
    given = [to_camel(name) for name in fields if getattr(model, name) is not None]
    if len(given) != 1:
        allowed = ", ".join(to_camel(name) for name in fields)
        found = " and ".join(given) if given else "none"
        raise ValueError(f"exactly one of {allowed} is allowed, found {found}")


def check_idle(model: Model, fields: tuple[str, ...], owner: str) -> None:
    """Raise ValueError if one of the fields, which do nothing here, is not left at its default.

    Args:
        model: the part of a resource that has the fields.
        fields: names of its fields.
        owner: where they act, for the message.
    """
    for name in fields:
        value = getattr(model, name)
        if value != type(model).model_fields[name].default:
            raise ValueError(f"{to_camel(name)} ({value}) acts only {owner}: leave it out")


class Metadata(Model):
    """The part of Kubernetes' ObjectMeta that Assay reads; a server adds the rest."""

    model_config = ConfigDict(extra="ignore")

    name: Name = Field(description="Name of the resource, unique per kind and namespace.")
    namespace: str = Field(default="default", description="Namespace; one machine has only one.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels, for selection.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations.")
    generation: int = Field(default=1, description="Counts changes of the spec; set by the server.")
    uid: str = Field(default="", description="The server's identity of this very object.")


_MAX_MESSAGE = 32_768


def _shortened(message: object) -> object:
    # A long error must not keep a status from being written.
    return message[:_MAX_MESSAGE] if isinstance(message, str) else message


class Condition(Model):
    """A standard Kubernetes condition."""

    type: str = Field(
        max_length=316, description="What is described: Ready, Succeeded, Blocked, Failed."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(
        max_length=1024, description="Why, as one CamelCase word out of a fixed list."
    )
    message: Annotated[str, BeforeValidator(_shortened)] = Field(
        default="",
        max_length=_MAX_MESSAGE,
        description="Why, for people: what happened, what to do.",
    )
    observed_generation: int = Field(default=1, description="The generation this speaks of.")
    last_transition_time: str | None = Field(
        default=None,
        max_length=40,
        description="When the status last changed, RFC 3339. On a cluster only.",
        json_schema_extra={"format": "date-time"},
    )


class Status(Model):
    """What the operator reports of any resource."""

    observed_generation: int = Field(default=0, description="Generation of the spec last acted on.")
    conditions: tuple[Condition, ...] = Field(
        default=(), max_length=16, description="Standard conditions."
    )

    def condition(self, condition_type: str) -> Condition | None:
        """Return the condition of that type, if it was ever set."""
        return next((c for c in self.conditions if c.type == condition_type), None)

    def is_true(self, condition_type: str) -> bool:
        """Tell whether the condition of that type is set and holds."""
        found = self.condition(condition_type)
        return found is not None and found.status == "True"


class AttemptRecord(Model):
    """How an attempt ended."""

    number: int = Field(ge=1, description="Number of the attempt.")
    failure: Literal["preemption", "infrastructure", "application", "input"] | None = Field(
        default=None, description="Whose fault it was; unset: it was stopped, or had done its part."
    )
    exit_code: int | None = Field(default=None, description="Exit code, if one is known.")
    message: str = Field(default="", max_length=1024, description="What happened, for people.")
    step: int = Field(default=0, ge=0, description="Optimiser steps done by its end.")
    ended_at: str = Field(default="", max_length=40, description="When it ended, RFC 3339.")


class FailureCounts(Model):
    """Failures by class."""

    preemption: int = Field(default=0, ge=0, description="Preemptions.")
    infrastructure: int = Field(default=0, ge=0, description="Node, network, engine failures.")
    application: int = Field(default=0, ge=0, description="The workload's own errors.")
    input: int = Field(default=0, ge=0, description="Inputs that were refused.")


class WorkStatus(Status):
    """What the operator reports of what runs to an end."""

    attempt: int = Field(default=0, ge=0, description="Attempts started so far.")
    attempts: tuple[AttemptRecord, ...] = Field(
        default=(), max_length=10, description="The newest attempts that ended without the result."
    )
    failures: FailureCounts = Field(
        default=FailureCounts(), description="Failures of all attempts, forgotten ones included."
    )
    spec_digest: str | None = Field(
        default=None, description="SHA-256 of what was run, inputs included, once it has finished."
    )


class ThinkingMode(StrEnum):
    """Whether the model is asked to reason before it answers."""

    THINK = "Think"
    NO_THINK = "NoThink"


class Split(StrEnum):
    """Part of a dataset. All clips of one source video are in the same part."""

    TRAIN = "Train"
    TEST = "Test"


VISION_FIELDS = ("vision_hidden_size", "vision_depth")
VISION_ONLY = "with family: Qwen25Vl; a text model has no vision tower"


class ScratchModel(Model):
    """A randomly initialised model with a tokenizer of its own, for CPUs and for tests.

    It has exactly the Hugging Face format of a real one; only the sizes differ.
    """

    family: Literal["Qwen25Vl", "Qwen2"] = Field(
        default="Qwen25Vl", description="Kind of model: of videos and text, or of text only."
    )
    hidden_size: int = Field(default=128, ge=32, le=65_536, description="Width of the text model.")
    num_layers: int = Field(default=3, ge=1, le=1024, description="Layers of the text model.")
    num_heads: int = Field(
        default=4, ge=1, le=1024, description="Attention heads of the text model."
    )
    num_kv_heads: int = Field(
        default=2, ge=1, le=1024, description="Key and value heads (grouped query)."
    )
    vision_hidden_size: int = Field(
        default=64, ge=16, le=65_536, description="Width of the vision tower."
    )
    vision_depth: int = Field(default=3, ge=1, le=1024, description="Layers of the vision tower.")
    vocabulary_size: int = Field(
        default=1024,
        ge=300,
        le=1_000_000,
        description="At most this many tokens in the byte-level BPE.",
    )
    max_position_embeddings: int = Field(
        default=4096, ge=512, le=MAX_TOKENS, description="Context in tokens."
    )
    seed: Seed = Field(default=0, description="Seed of the random weights.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.family != "Qwen25Vl":
            check_idle(self, VISION_FIELDS, VISION_ONLY)
        return self


class ModelSource(OneOf):
    """Where a model's weights come from: exactly one of the three."""

    uri: ModelUri | None = Field(
        default=None,
        description="Folder, file:// or s3:// URL of a Hugging Face checkpoint, or its name on the "
        "Hub, hf://OWNER/NAME@REVISION; its commit is noted at the first start and kept.",
    )
    from_stage: Name | None = Field(
        default=None, description="Name of the TrainingStage whose result is the model."
    )
    scratch: ScratchModel | None = Field(
        default=None, description="Random weights of these sizes; only for the first, SFT, stage."
    )


class ModelRef(OneOf):
    """A trained model: exactly one of the two."""

    uri: ModelUri | None = Field(
        default=None,
        description="Folder, file:// or s3:// URL of a Hugging Face checkpoint, or its name on the "
        "Hub, hf://OWNER/NAME@REVISION; its commit is noted at the first use and kept.",
    )
    from_stage: Name | None = Field(
        default=None, description="Name of the TrainingStage whose result is the model."
    )
