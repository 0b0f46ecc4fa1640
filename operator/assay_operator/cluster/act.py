"""Writes what was decided about one resource. It decides nothing but what a refusal means."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from assay_api.base import Status
from assay_api.errors import StoreError
from assay_api.layout import ResourceId
from assay_operator.children.owner import Manifest
from assay_operator.cluster.actions import Actions
from assay_operator.cluster.api import Api, ApiError, Conflict, Refused
from assay_operator.cluster.kinds import BY_NAME, TRAINING_STAGE
from assay_operator.cluster.metrics import Metrics
from assay_operator.cluster.status_writes import (
    event,
    has_changed_verdict,
    is_worth_writing,
    new_failures,
    next_status,
)
from assay_operator.conditions import Reason, State, Verdict, verdict_of
from assay_operator.statuses import with_verdict

logger = logging.getLogger(__name__)

COMPONENT = "assay-operator"
ASK_AGAIN_SECONDS = 5.0
"""Pause before a store that could not be told is tried again."""


class Writer:
    """Writes to the API server, while this process is the one that may."""

    def __init__(
        self,
        api: Api,
        metrics: Metrics,
        clock: Callable[[], float],
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        """Take the API server, a clock (seconds since the epoch) and the right to write."""
        self._api = api
        self._metrics = metrics
        self._clock = clock
        self._may_write = may_write
        self._written: dict[str, float] = {}

    def carry_out(self, raw: Manifest, actions: Actions) -> bool:
        """Write all of a resource's actions; tell whether there was anything to write.

        Args:
            raw: the resource as it was seen.
            actions: what to write.

        Raises:
            ApiError: the API server does not answer; what was not written comes next time.
        """
        # A child that is about to be made tells more, a moment later, than that it is due.
        wrote = bool(actions.create or actions.delete or actions.replace)
        if not actions.create or raw["kind"] == "TrainingPipeline":
            wrote = self.write_status(raw, actions.status) or wrote
        for manifest in actions.delete:
            self._delete(manifest)
        for manifest in actions.replace:
            self._replace(manifest)
        try:
            for manifest in actions.create:
                self._create(manifest)
        except Refused as error:
            verdict = Verdict(State.BLOCKED, Reason.CHILD_REFUSED, str(error))
            self.write_status(raw, with_verdict(actions.status, verdict))
        return wrote

    def ask_to_stop(self, raw: Manifest, actions: Actions, ask: Callable[[int], None]) -> Actions:
        """Have an attempt asked to save and stop, where that is due; return what is left to write.

        A store that can't be told is tried again soon; until then the status says so.

        Args:
            raw: the resource as it was seen.
            actions: what was decided.
            ask: asks the attempt of this number.
        """
        if actions.stop is None or not self._may_write():
            return actions
        try:
            ask(actions.stop)
        except StoreError as error:
            self._metrics.went_wrong("store")
            logger.error("not asked to stop: %s", error, extra=_who(raw))
            verdict = verdict_of(actions.status)
            text = f"{verdict.message}, once it can be told: {error}"
            status = with_verdict(actions.status, replace(verdict, message=text))
            return replace(actions, status=status, requeue_after=ASK_AGAIN_SECONDS)
        self._metrics.wrote("stop", raw["kind"])
        logger.info("attempt %d is asked to stop", actions.stop, extra=_who(raw))
        return actions

    def write_status(self, raw: Manifest, status: Status | Mapping[str, Any]) -> bool:
        """Set a resource's status, and tell of it, if it says something new; tell whether."""
        now, uid = self._clock(), raw["metadata"]["uid"]
        before = raw.get("status") or {}
        new = next_status(status, before, now) if isinstance(status, Status) else dict(status)
        if not is_worth_writing(new, before, now - self._written.get(uid, 0.0)):
            return False
        if not self._may_write():
            return False
        try:
            self._api.patch_status(BY_NAME[raw["apiVersion"], raw["kind"]], raw, new)
        except Conflict:
            # Somebody changed the resource meanwhile: the next look sees how.
            logger.info("changed meanwhile", extra=_who(raw))
            return True
        self._written[uid] = now
        self._metrics.wrote("status", raw["kind"])
        for failure in new_failures(new, before):
            self._metrics.failed_attempt(failure)
        if has_changed_verdict(new, before):
            self._tell(raw, new, now)
        return True

    def _tell(self, raw: Manifest, status: Mapping[str, Any], now: float) -> None:
        ready = next(c for c in status["conditions"] if c["type"] == "Ready")
        logger.info(
            "%s",
            ready["message"] or ready["reason"],
            extra={**_who(raw), "reason": ready["reason"]},
        )
        try:
            self._api.create(event(raw, status, COMPONENT, now))
            self._metrics.wrote("create", "Event")
        except ApiError as error:
            # An event is told for people's convenience; the status has it all.
            logger.info("event not told: %s", error, extra=_who(raw))

    def _create(self, manifest: Manifest) -> None:
        if not self._may_write():
            return
        try:
            self._api.create(manifest)
        except Conflict:
            # Made before, by a pass that was cut off; or one of its name is on its way out.
            return
        self._metrics.wrote("create", manifest["kind"])
        logger.info("created", extra=_who(manifest))

    def _replace(self, manifest: Manifest) -> None:
        if not self._may_write():
            return
        try:
            self._api.replace(TRAINING_STAGE, manifest)
        except (Conflict, Refused) as error:
            logger.warning("stage keeps its spec: %s", error, extra=_who(manifest))
            return
        self._metrics.wrote("replace", manifest["kind"])

    def _delete(self, manifest: Manifest) -> None:
        if not self._may_write():
            return
        self._api.delete(BY_NAME[manifest["apiVersion"], manifest["kind"]], manifest)
        self._metrics.wrote("delete", manifest["kind"])
        logger.info("deleted", extra=_who(manifest))


def _who(manifest: Manifest) -> dict[str, str]:
    metadata = manifest["metadata"]
    resource = ResourceId(manifest["kind"], metadata["name"])
    return {"resource": str(resource), "namespace": metadata.get("namespace", "")}
