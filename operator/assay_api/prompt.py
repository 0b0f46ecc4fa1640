"""What a model is asked about each row of a dataset."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from assay_api.base import MAX_TOKENS, Model, check_idle

_MAX_PROMPT = 16_384
"""Characters."""


class PromptSource(StrEnum):
    """What each row is asked."""

    QUESTION = "Question"
    PROBLEM = "Problem"
    MESSAGES = "Messages"
    RAW = "Raw"


QUESTION_FIELDS = ("question",)
QUESTION_ONLY = "with source: Question; the others ask what the row does"
CHAT_FIELDS = ("system", "think", "no_think", "flags")
CHAT_ONLY = "with source: Question or Problem; others ask the row's own text"


class Prompt(Model):
    """What the model is asked about each row: a question, then how to answer in each mode."""

    source: PromptSource = Field(
        default=PromptSource.QUESTION,
        description="Where the question comes from. Question: `question`, the same about each "
        "row's video. Problem: the row's own question, with its pictures. Messages: the row's "
        "conversation. Raw: the row's text to the letter, without a chat format, as for a base "
        "model; it may end inside <think>.",
    )
    system: str | None = Field(
        default=None, max_length=_MAX_PROMPT, description="System message; unset: none."
    )
    question: str = Field(
        default="",
        max_length=_MAX_PROMPT,
        description="Question: text after the video. Judges are told it too.",
    )
    think: str | None = Field(
        default=None,
        min_length=1,
        max_length=_MAX_PROMPT,
        description="Text after the question in the mode Think: how to reason, and in which tags "
        "to answer (<think>, </think>, <answer>, </answer>). The flag /think follows it. Unset: "
        "none, as for a model that was taught the tags.",
    )
    no_think: str | None = Field(
        default=None,
        min_length=1,
        max_length=_MAX_PROMPT,
        description="The same in the mode NoThink, before the flag /no_think.",
    )
    flags: bool = Field(
        default=True, description="End the question with the flag /think or /no_think of its mode."
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        le=MAX_TOKENS,
        description="Rows whose prompt is longer, in tokens, are left out and counted. Unset: the "
        "model's context, less the longest completion.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source is not PromptSource.QUESTION:
            check_idle(self, QUESTION_FIELDS, QUESTION_ONLY)
        elif not self.question.strip():
            raise ValueError("question is required with source: Question")
        if self.source in (PromptSource.MESSAGES, PromptSource.RAW):
            check_idle(self, CHAT_FIELDS, CHAT_ONLY)
        return self


BUSTERX_QUESTION = (
    "Please analyze whether there are any inconsistencies or obvious signs of forgery in the "
    "video, and finally come to a conclusion: Is this video real or fake? Answer this MCQ with a "
    "single letter: Q: Is this video real or fake? Options: A) real B) fake"
)
BUSTERX_PROMPT = Prompt(
    question=BUSTERX_QUESTION,
    think="Please think about this question as if you were a human pondering deeply. Engage in an "
    "internal dialogue using expressions such as 'let me think', 'wait', 'Hmm', 'oh, I see', "
    "'let's break it down', etc. Provide your detailed reasoning between the <think> and </think> "
    "tags, and then only the letter of your answer between the <answer> and </answer> tags.",
    no_think="Do not reason: leave nothing between the <think> and </think> tags, and then give "
    "only the letter of your answer between the <answer> and </answer> tags.",
)
"""The prompt of BusterX++ (arXiv:2507.14632), in the parts that differ by thinking mode.

The sentence on the tags is that of Video-R1 (arXiv:2503.21776), which has the one on pondering too.
How the paper asks for /no_think is not published; what its model then answers is: the tags, with
nothing between the first two.
"""
