"""What a model is asked about each clip."""

from pydantic import Field

from assay_api.base import Model

_MAX_PROMPT = 16_384
"""Characters."""


class Prompt(Model):
    """What the model is asked about each clip: the question, then how to answer in each mode."""

    system: str | None = Field(
        default=None, max_length=_MAX_PROMPT, description="System message; unset: none."
    )
    question: str = Field(
        min_length=1,
        max_length=_MAX_PROMPT,
        description="Text after the video. Judges are told it too.",
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
