"""The client of a judge of reasoning behind an OpenAI-compatible server.

A judge that answers nonsense abstains; one that cannot be asked fails. Neither becomes a number.
Failing requests are repeated with growing pauses. One that has answered before and cannot be
reached is waited for, as long as a server takes to start anew. When whole requests keep failing one
after the other the judge counts as down and every call raises at once, so that no run trains for
hours without its reward.
"""

import base64
import io
import json
import logging
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import httpx
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from assay_api import JudgeError, ResolvedJudge
from assay_trainer import exported
from assay_trainer.chat import judge_messages, shown_frames
from assay_trainer.rewards.outcome import Abstain, Failure, Outcome, Score

_LOG = logging.getLogger(__name__)

MAX_PAUSE_SECONDS = 30.0
"""Pauses between tries double up to this."""

PATIENCE_SECONDS = 300.0
"""How long a judge that has answered before is waited for while nothing listens at its address."""

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
        self.spec = spec
        self._first_pause_seconds = first_pause_seconds
        self._max_consecutive_failures = max_consecutive_failures
        self._patience_seconds = patience_seconds
        self._num_consecutive_failures = 0
        self._has_answered = False
        self._lock = threading.Lock()
        self._client = httpx.Client(
            timeout=httpx.Timeout(spec.timeout_seconds, pool=None),
            limits=httpx.Limits(max_connections=spec.concurrency),
        )

    def __enter__(self) -> Self:
        """Return the judge itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the connections."""
        self._client.close()

    def check(self) -> None:
        """Return if the server answers and knows the model.

        Raises:
            JudgeError: it does not; the message names the URL, the model and what is offered.
        """
        try:
            models = self._ask("GET", "/models")
            offered = sorted(str(model["id"]) for model in models["data"])
        except _UnansweredError as error:
            raise JudgeError(self._unreachable(str(error))) from None
        except (KeyError, TypeError):
            raise JudgeError(self._unreachable("its answer is no list of models")) from None
        if self.spec.model not in offered:
            raise JudgeError(
                f"reward model {self.spec.name}: the server at {self.spec.url} does not know the "
                f"model {self.spec.model!r}; it offers {', '.join(offered) or 'none'}. Correct "
                "spec.endpoint.model of the RewardModel, or serve that model there."
            )

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
            text = _content(self._ask("POST", "/chat/completions", body))
        except _UnansweredError as error:
            return self._fail(str(error))
        with self._lock:
            self._num_consecutive_failures = 0
        return parse_score(text)

    def _fail(self, reason: str) -> Failure:
        with self._lock:
            self._num_consecutive_failures += 1
        self._refuse_if_down(reason)
        return Failure(f"reward model {self.spec.name} at {self.spec.url}: {reason}")

    def _refuse_if_down(self, reason: str) -> None:
        if self._num_consecutive_failures >= self._max_consecutive_failures:
            raise JudgeError(
                self._unreachable(
                    f"{self._num_consecutive_failures} requests in a row failed, the last because "
                    f"{reason}"
                )
            )

    def _unreachable(self, reason: str) -> str:
        return (
            f"reward model {self.spec.name} (model {self.spec.model!r} at {self.spec.url}) cannot "
            f"be asked: {reason}. See that the server runs and that this URL, which ends in /v1, "
            "reaches it from here; then start the stage again, it goes on from its last checkpoint."
        )

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the server's JSON; repeat what may succeed next time, with growing pauses."""
        pause_seconds, tries_left = self._first_pause_seconds, self.spec.retries
        give_up_at = time.monotonic() + self._patience_seconds
        while True:
            self._refuse_if_down("an earlier request failed")
            try:
                return self._timed(method, path, body)
            except _UnansweredError as error:
                awaited = error.away and self._has_answered and time.monotonic() < give_up_at
                if not (error.transient and (tries_left or awaited)):
                    raise
                _LOG.warning("reward model %s: %s; asks again", self.spec.name, error)
            tries_left = max(0, tries_left - 1)
            time.sleep(min(pause_seconds, MAX_PAUSE_SECONDS))
            pause_seconds *= 2

    def _timed(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        name, outcome = self.spec.name, "failed"
        with exported.JUDGE_SECONDS.labels(name).time():
            try:
                answer = self._send(method, path, body)
                self._has_answered = True
                outcome = "answered"
            finally:
                exported.JUDGE_REQUESTS.labels(name, outcome).inc()
        return answer

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        deadline = time.monotonic() + self.spec.timeout_seconds
        url = self.spec.url.rstrip("/") + path
        try:
            with self._client.stream(method, url, json=body) as response:
                content = b"".join(_before(deadline, response.iter_bytes()))
        except httpx.RequestError as error:
            problem = f"{type(error).__name__} ({error})" if str(error) else type(error).__name__
            away = isinstance(error, httpx.ConnectError)
            raise _UnansweredError(problem, transient=True, away=away) from None
        if response.status_code != httpx.codes.OK:
            transient = response.is_server_error or response.status_code in (408, 429)
            excerpt = content[:300].decode(errors="replace")
            raise _UnansweredError(f"HTTP {response.status_code}: {excerpt}", transient=transient)
        try:
            return json.loads(content)
        except ValueError:
            raise _UnansweredError("the answer is not JSON", transient=True) from None


class _UnansweredError(Exception):
    """A request got no answer.

    `transient`: the same request may get one later; `away`: nothing listens at the address.
    """

    def __init__(self, reason: str, *, transient: bool, away: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient
        self.away = away


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
        raise _UnansweredError("the answer holds no message", transient=False) from None
    return content if isinstance(content, str) else ""


def _before(deadline: float, chunks: Iterable[bytes]) -> Iterator[bytes]:
    # The client's own timeout restarts with every chunk: a server that trickles would never end.
    for chunk in chunks:
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer was not complete in time")
        yield chunk
