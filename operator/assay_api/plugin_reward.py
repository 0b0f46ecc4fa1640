"""A reward of the user's own: a function in Python that the manifest names."""

import json
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from assay_api.base import Model

RESERVED_NAMES = (
    *("Format", "Accuracy", "Overlong", "ModeFollowed", "Thinking", "Factuality"),
    *("Plugin", "Mean"),
)
"""Names of other terms and of the sum, which metrics are called by."""
MAX_ARGUMENTS_CHARS = 16_384


class Convention(StrEnum):
    """How a plug-in's function is called, and what it returns."""

    ASSAY = "Assay"
    EASY_R1 = "EasyR1"
    VERL = "Verl"


class RightAnswers(Model):
    """Which of a plug-in's scores belong to right answers."""

    metric: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)] | None = (
        Field(
            default=None,
            description="Which of its other numbers tells, such as verl's acc; "
            "unset: the score itself.",
        )
    )
    at_least: float = Field(
        ge=-1e6, le=1e6, description="From this number on, without weight, an answer is right."
    )


class PluginReward(Model):
    """A function that scores rollouts. It runs in the trainer's own process."""

    name: str = Field(
        pattern=r"^[A-Z][A-Za-z0-9]*$",
        max_length=40,
        description="Name of the term in metrics and logs, such as Brevity; no other term's.",
    )
    function: str = Field(
        pattern=r"^[-A-Za-z0-9_./]+(:[A-Za-z_][A-Za-z0-9_.]*)?$",
        max_length=256,
        description="module:function, folder/file.py:function, or the name of an entry point of "
        "the group assay.rewards. Looked for in the current folder, in PYTHONPATH and in what is "
        "installed; on a cluster, in the image.",
    )
    convention: Convention = Field(
        default=Convention.ASSAY,
        description="How it is called: Assay (prompt, rollout; or samples), EasyR1, or Verl.",
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        max_length=32,
        description="Keyword arguments of every call; any values that JSON has.",
    )
    timeout_seconds: float = Field(
        default=300.0,
        gt=0,
        le=86_400,
        description="Seconds for all rollouts of a step together; those without a score then are "
        "failures, and the stage goes on.",
    )
    right_answers: RightAnswers | None = Field(
        default=None,
        description="Its scores decide which answers are right, for dynamic sampling and in "
        "metrics; unset: the answer itself decides. One reward at most.",
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.name in RESERVED_NAMES:
            raise ValueError(
                f"name {self.name} is taken: a plug-in can't be called {', '.join(RESERVED_NAMES)}"
            )
        for name in self.arguments:
            if not name.isidentifier():
                raise ValueError(f"arguments: {name!r} is no name of an argument in Python")
        try:
            length = len(json.dumps(self.arguments, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"arguments: JSON has no such value: {error}") from error
        if length > MAX_ARGUMENTS_CHARS:
            raise ValueError(
                f"arguments: {length} characters of JSON, at most {MAX_ARGUMENTS_CHARS} are "
                "allowed: put large tables into a file beside the function"
            )
        return self
