"""The client of a judge of reasoning behind an OpenAI-compatible server.

A judge that answers nonsense abstains; one that cannot be asked fails. Neither becomes a number.
"""

import base64
import io
import re
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from assay_api import ResolvedJudge
from assay_trainer.chat import judge_messages, shown_frames
from assay_trainer.rewards.judges.connection import (
    PATIENCE_SECONDS,
    Connection,
    UnansweredError,
)
from assay_trainer.rewards.outcome import Abstain, Outcome, Score

MAX_SCORE_TOKENS = 16
"""Room for one score in its tags."""

_SCORE = re.compile(r"\s*<answer>\s*(?P<number>[-+]?(?:\d+(?:\.\d*)?|\.\d+))\s*</answer>\s*")


class Judge:
    """Scores reasoning by asking a server. Safe to use from several threads."""

    def __init__(
        self,
        spec: ResolvedJudge,
        *,
        first_pause_seconds: float = 1.0,
        max_consecutive_failures: int = 8,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            spec: where the judge is and how patient to be.
            first_pause_seconds: pause before the first repetition; it doubles each time.
            max_consecutive_failures: requests, each with all its repetitions, that may fail in a
                row before the judge counts as down.
            patience_seconds: how long it is waited for once it cannot be reached any more.
        """
        self._connection = Connection(
            spec,
            first_pause_seconds=first_pause_seconds,
            max_consecutive_failures=max_consecutive_failures,
            patience_seconds=patience_seconds,
        )
        self.spec = spec

    def __enter__(self) -> Self:
        """Return the judge itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the connections."""
        self._connection.close()

    def check(self) -> None:
        """Return if the server answers and knows the model.

        Raises:
            JudgeError: it does not; the message names the URL, the model and what is offered.
        """
        self._connection.check_model()

    def score(self, question: str, reasoning: str, image_urls: Sequence[str] = ()) -> Outcome:
        """Return the judge's score, its abstention if it answered nonsense, or its failure.

        Args:
            question: what the model was asked.
            reasoning: the whole completion; it is not trusted.
            image_urls: frames as data URLs, from `image_urls`.

        Raises:
            JudgeError: too many requests in a row have failed; nothing more is sent.
        """
        body = {
            "model": self.spec.model,
            "messages": judge_messages(self.spec.prompt_template, question, reasoning, image_urls),
            "temperature": 0,
            "max_tokens": MAX_SCORE_TOKENS,
        }
        try:
            text = _content(self._connection.post("/chat/completions", body))
        except UnansweredError as error:
            return self._connection.failed(str(error))
        self._connection.succeeded()
        return parse_score(text)


def parse_score(text: str) -> Score | Abstain:
    """Return the score that the judge states, if it states one and nothing else.

    Text around the tags, even a second pair of them, is nonsense: the judge may have copied an
    answer that the reasoning put into its mouth. A number beyond 0 to 1 is no score and is not
    moved into the range.

    Example:
        >>> parse_score("<answer>0.7</answer>"), parse_score("<answer>7</answer>")
        (Score(value=0.7), Abstain(reason='NotAScore'))
        >>> parse_score("I would say 0.7")
        Abstain(reason='Nonsense')
    """
    matched = _SCORE.fullmatch(text)
    if matched is None:
        return Abstain("Nonsense")
    value = float(matched["number"])
    return Score(value) if 0 <= value <= 1 else Abstain("NotAScore")


def image_urls(frames: UInt8[np.ndarray, "frame height width 3"], num_shown: int) -> list[str]:
    """Return evenly spaced frames as PNG data URLs, at most `num_shown`.

    Args:
        frames: the clip's frames, RGB.
        num_shown: how many the judge is shown.
    """
    return [_png_url(frames[index]) for index in shown_frames(len(frames), num_shown)]


def _png_url(frame: UInt8[np.ndarray, "height width 3"]) -> str:
    png = io.BytesIO()
    Image.fromarray(frame).save(png, format="PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def _content(reply: Any) -> str:
    try:
        content = reply["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise UnansweredError("the answer holds no message", transient=False) from None
    return content if isinstance(content, str) else ""
