"""The chat format of Qwen2.5-VL as plain strings, and what detector and judge are asked in it.

The strings equal what the chat template that ships with Qwen2.5-VL renders, but for one thing:
where no system message is set there is none, while that template slips in one of its own.
``CHAT_TEMPLATE`` is that template without this habit, for the models that Assay makes itself.
"""

import re
from collections.abc import Sequence
from typing import Any

from assay_api import ThinkingMode
from assay_api.prompt import Prompt
from assay_data.dataset.rows import Turn

END = "<|im_end|>"
"""Ends a turn; the sampler stops at it."""

VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] in ('image', 'image_url') %}" + IMAGE + "{% elif content['type'] in "
    "('video', 'video_url') %}" + VIDEO + "{% elif 'text' in content %}{{ content['text'] }}"
    "{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Jinja template of the format, for `tokenizer.chat_template`."""

FLAGS = {ThinkingMode.THINK: "/think", ThinkingMode.NO_THINK: "/no_think"}
"""What follows the question to ask for a thinking mode."""

JUDGE_SYSTEM = "You are a helpful assistant."

_PLACE = re.compile(r"\{(question|reasoning)\}")
_TOKEN_START, _TOKEN_END = re.compile("<[|\uff5c]"), re.compile("[|\uff5c]>")
_FENCE_TAG = re.compile(r"<\s*/?\s*reasoning\s*>?", re.IGNORECASE)


def detection_prompt(prompt: Prompt, mode: ThinkingMode) -> tuple[str, str]:
    """Return the whole prompt about one clip, and the question alone as the judge is told it."""
    system = [Turn("system", prompt.system)] if prompt.system else []
    user = Turn("user", f"{VIDEO}{asked(prompt, prompt.question, mode)}")
    return conversation([*system, user]), prompt.question


def asked(prompt: Prompt, question: str, mode: ThinkingMode) -> str:
    """Return a question with how to answer it in a mode, and the mode's flag.

    Example:
        >>> asked(Prompt(question="Is it?", think="Reason."), "Is it?", ThinkingMode.THINK)
        'Is it? Reason. /think'
    """
    how_to_answer = prompt.think if mode is ThinkingMode.THINK else prompt.no_think
    flag = FLAGS[mode] if prompt.flags else None
    return " ".join(part for part in (question, how_to_answer, flag) if part)


def conversation(turns: Sequence[Turn]) -> str:
    """Return a conversation in the format, up to where the answer begins."""
    said = "".join(_turn(turn.role, turn.content) for turn in turns)
    return f"{said}<|im_start|>assistant\n"


def judge_prompt(template: str, question: str, reasoning: str, num_images: int) -> str:
    """Return the whole prompt to a judge: byte for byte what a server renders `judge_messages` to.

    Args:
        template: the judge's prompt, as its RewardModel has it.
        question: what the model was asked.
        reasoning: the whole completion to judge; it is not trusted.
        num_images: frames shown.
    """
    return conversation(judge_turns(template, question, reasoning, num_images))


def judge_turns(template: str, question: str, reasoning: str, num_images: int) -> tuple[Turn, Turn]:
    """Return the same as a conversation."""
    before, after = judge_texts(template, question, reasoning)
    user = Turn("user", before + IMAGE * num_images + after)
    return Turn("system", JUDGE_SYSTEM), user


def judge_messages(
    template: str, question: str, reasoning: str, image_urls: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the same for an OpenAI-compatible server: a system message, then text and images."""
    before, after = judge_texts(template, question, reasoning)
    images = [{"type": "image_url", "image_url": {"url": url}} for url in image_urls]
    content = [*_text_part(before), *images, *_text_part(after)]
    return [{"role": "system", "content": JUDGE_SYSTEM}, {"role": "user", "content": content}]


def _text_part(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}] if text else []


def judge_texts(template: str, question: str, reasoning: str) -> tuple[str, str]:
    """Return a judge's prompt filled in, as its parts before and after the images.

    Example:
        >>> judge_texts("See {images}. {question} {reasoning}", "Is it?", "<|x|>Yes.")
        ('See ', '. Is it? [x]Yes.')
    """
    said = {"question": question, "reasoning": neutralise(reasoning)}
    before, _, after = template.rpartition("{images}")
    filled = [_PLACE.sub(lambda place: said[place[1]], part) for part in (before, after)]
    return filled[0], filled[1]


def neutralise(untrusted: str) -> str:
    """Return the text with nothing left in it that ends a turn, shows an image or ends the fence.

    Tokens of control stay readable, so that the judge sees what was written.

    Example:
        >>> neutralise("good.</reasoning><|im_end|>")
        'good.[reasoning][im_end]'
    """
    harmless = _TOKEN_END.sub("]", _TOKEN_START.sub("[", untrusted))
    return _FENCE_TAG.sub("[reasoning]", harmless)


def shown_frames(num_frames: int, num_shown: int) -> tuple[int, ...]:
    """Return the indices of the frames that are shown as images: the middles of equal parts.

    Example:
        >>> shown_frames(16, 4), shown_frames(2, 4)
        ((2, 6, 10, 14), (0, 1))
    """
    if num_shown >= num_frames:
        return tuple(range(num_frames))
    return tuple((2 * part + 1) * num_frames // (2 * num_shown) for part in range(num_shown))


def _turn(role: str, content: str) -> str:
    return f"<|im_start|>{role}\n{content}{END}\n"
