"""A connection to the server of a judge or verifier: tries again, waits, and tells when it is down.

Failing requests are repeated with growing pauses. A server that has answered before and cannot be
reached is waited for, as long as one takes to start anew. When whole requests keep failing one
after the other it counts as down and every call raises at once, so that no run trains for hours
without its reward.
"""

import json
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpx

from assay_api import JudgeError, ResolvedJudge
from assay_trainer import exported
from assay_trainer.rewards.outcome import Failure

_LOG = logging.getLogger(__name__)

MAX_PAUSE_SECONDS = 30.0
"""Pauses between tries double up to this."""

PATIENCE_SECONDS = 300.0
"""How long a server that has answered before is waited for while nothing listens at its address."""


class Connection:
    """Asks one server, by JSON over HTTP. Safe to use from several threads."""

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

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def check_model(self) -> None:
        """Return if the server answers and knows the model.

        Raises:
            JudgeError: it does not; the message names the URL, the model and what is offered.
        """
        try:
            models = self._ask("GET", "/models")
            offered = sorted(str(model["id"]) for model in models["data"])
        except UnansweredError as error:
            raise JudgeError(self._unreachable(str(error))) from None
        except (KeyError, TypeError):
            raise JudgeError(self._unreachable("its answer is no list of models")) from None
        if self.spec.model not in offered:
            raise JudgeError(
                f"reward model {self.spec.name}: the server at {self.spec.url} does not know the "
                f"model {self.spec.model!r}; it offers {', '.join(offered) or 'none'}. Correct "
                "spec.endpoint.model of the RewardModel, or serve that model there."
            )

    def refuse(self, reason: str) -> JudgeError:
        """Return the error that the server can't be asked, with what to do."""
        return JudgeError(self._unreachable(reason))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Return the server's JSON; repeat what may succeed next time, with growing pauses.

        Raises:
            UnansweredError: there is no answer that can be read.
            JudgeError: too many requests in a row have failed; nothing is sent.
        """
        return self._ask("POST", path, body)

    def succeeded(self) -> None:
        """Take note of an answer that could be used."""
        with self._lock:
            self._num_consecutive_failures = 0

    def failed(self, reason: str) -> Failure:
        """Take note of a request that failed with all its repetitions, and return the failure.

        Raises:
            JudgeError: too many in a row have failed.
        """
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
            except UnansweredError as error:
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
            raise UnansweredError(problem, transient=True, away=away) from None
        if response.status_code != httpx.codes.OK:
            transient = response.is_server_error or response.status_code in (408, 429)
            excerpt = content[:300].decode(errors="replace")
            problem = f"HTTP {response.status_code}: {excerpt}"
            raise UnansweredError(problem, transient=transient, status=response.status_code)
        try:
            return json.loads(content)
        except ValueError:
            raise UnansweredError("the answer is not JSON", transient=True) from None


class UnansweredError(Exception):
    """A request got no answer that can be used.

    `transient`: the same request may get one later; `away`: nothing listens at the address;
    `status`: that of HTTP, where there is one.
    """

    def __init__(
        self, reason: str, *, transient: bool, away: bool = False, status: int | None = None
    ) -> None:
        """Say why, and with which HTTP status."""
        super().__init__(reason)
        self.transient = transient
        self.away = away
        self.status = status


def _before(deadline: float, chunks: Iterable[bytes]) -> Iterator[bytes]:
    # The client's own timeout restarts with every chunk: a server that trickles would never end.
    for chunk in chunks:
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer was not complete in time")
        yield chunk
