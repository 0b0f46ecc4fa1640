"""What the store of one namespace tells, asked no more often than there is cause to."""

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from assay_api import Completion, Evaluation, StopRequest, TrainingStage
from assay_api.base import ThinkingMode
from assay_api.errors import StoreError
from assay_api.hub import PinnedModel, is_hub
from assay_api.layout import ResourceId, accuracy_key
from assay_api.references import model_uri, references_of
from assay_operator.cluster.observe import Told
from assay_operator.cluster.seen import Child, Seen
from assay_operator.conditions import Reason
from assay_operator.observed import Finished
from assay_operator.policies.evidence import evidence_of
from assay_operator.records import (
    Writable,
    read_collected,
    read_completion,
    read_newest,
    read_pin,
    read_progress,
    read_stop,
)

ASK_STARTED_SECONDS = 10.0
"""How often the store is asked about what has been started."""
ASK_EACH_SECONDS = 0.03
"""Where that would be too often: time for each of all that have been started."""
ASK_AT_ONCE = 50
"""Questions of one look besides those that cannot wait, or a third of what has been started."""
ASK_IDLE_SECONDS = 300.0
"""How often it is asked about what has not: somebody may have brought a result."""
ASK_SCHEDULED_SECONDS = 60.0
"""How often it is asked for the newest result of an evaluation with a schedule."""


class Ledger:
    """Remembers what the store told; a restart asks again, what has Succeeded left out."""

    def __init__(self, store: Writable, executor: Executor) -> None:
        """Take the namespace's store, and threads to ask it from."""
        self._store = store
        self._executor = executor
        self._finished: dict[ResourceId, Finished] = {}
        self._collected: dict[ResourceId, str] = {}
        self._steps: dict[ResourceId, int] = {}
        self._still_since: dict[ResourceId, float] = {}
        self._checkpoints: dict[ResourceId, int] = {}
        self._stops: dict[ResourceId, tuple[str, int, float]] = {}
        self._newest: dict[ResourceId, Completion] = {}
        self._pins: dict[ResourceId, PinnedModel] = {}
        self._asked: dict[ResourceId, float] = {}
        self._problems: dict[ResourceId, str] = {}

    @property
    def problems(self) -> Mapping[ResourceId, str]:
        """What could not be looked up at the last look, and why."""
        return self._problems

    def look(self, seen: Seen, now_seconds: float) -> Told:
        """Return what the store tells about a namespace now."""
        wanted = self._wanted(seen)
        self._forget(wanted)
        for id_ in wanted:
            recorded = recorded_completion(seen.raw.get(id_, {}), self._store.url)
            if recorded and id_ not in self._finished:
                self._finished[id_] = Finished(recorded, None, now_seconds)
                self._recall_checkpoint(seen, id_)
            self._recall_pin(seen, id_)
        due = self._due(seen, wanted, now_seconds)
        self._problems = {}
        for id_, problem in zip(
            due, self._executor.map(self._ask(seen, now_seconds), due), strict=True
        ):
            if problem:
                self._problems[id_] = problem
            else:
                self._asked[id_] = now_seconds
        return Told(
            url=self._store.url,
            finished=dict(self._finished),
            collected=dict(self._collected),
            steps=dict(self._steps),
            still_since=dict(self._still_since),
            checkpoints=dict(self._checkpoints),
            stops={
                (id_, attempt): seconds
                for id_, (uid, attempt, seconds) in self._stops.items()
                if id_ in seen.raw and seen.owner(id_).uid == uid
            },
            pins=dict(self._pins),
            newest=dict(self._newest),
            unknown=frozenset(self._problems),
        )

    def ask_to_stop(self, id_: ResourceId, uid: str, attempt: int, now_seconds: float) -> None:
        """Ask an attempt to save a checkpoint and to stop; asking again changes nothing.

        Args:
            id_: the stage.
            uid: its own.
            attempt: number of the attempt.
            now_seconds: since the epoch.

        Raises:
            StoreError: the store can't be read or written.
        """
        requested_at = read_stop(self._store, id_, attempt, uid)
        if requested_at is None:
            requested_at = datetime.fromtimestamp(now_seconds, UTC)
            request = StopRequest(uid=uid, requested_at=requested_at)
            text = request.model_dump_json(by_alias=True, indent=1)
            self._store.write(id_.stop_key(attempt), text.encode())
        self._stops[id_] = uid, attempt, requested_at.timestamp()

    def _recall_checkpoint(self, seen: Seen, id_: ResourceId) -> None:
        """Keep what a finished stage's status says: the store is not asked about it again."""
        checkpoint = seen.recorded(id_).get("checkpoint")
        if checkpoint is not None:
            self._checkpoints.setdefault(id_, checkpoint)

    def _recall_pin(self, seen: Seen, id_: ResourceId) -> None:
        """Keep what a status says of the model of the Hub: a started spec does not change."""
        uri = _hub_uri(seen, id_) if id_.kind != "RewardModel" else None
        if uri and id_ not in self._pins:
            with contextlib.suppress(ValidationError):
                commit = seen.recorded(id_).get("sourceCommit")
                self._pins[id_] = PinnedModel(uri=uri, commit=commit)

    def _wanted(self, seen: Seen) -> list[ResourceId]:
        targets = (
            reference.target
            for resource in seen.resources.values()
            for reference in references_of(resource)
        )
        found = dict.fromkeys([*seen.resources, *targets])
        kinds = ("Dataset", "TrainingStage", "Evaluation")
        return [i for i in found if i.kind in kinds or _hub_uri(seen, i)]

    def _forget(self, wanted: Iterable[ResourceId]) -> None:
        remembered: tuple[dict[ResourceId, Any], ...] = (
            self._finished,
            self._collected,
            self._steps,
            self._still_since,
            self._checkpoints,
            self._stops,
            self._newest,
            self._pins,
            self._asked,
        )
        for id_ in set(self._asked) - set(wanted):
            for known in remembered:
                known.pop(id_, None)

    def _due(
        self, seen: Seen, wanted: Sequence[ResourceId], now_seconds: float
    ) -> list[ResourceId]:
        """Return what to ask about now: all that cannot wait, and some of what has its turn.

        Where much runs at once, its turn comes less often, and not all at the same look.
        """
        urgent = [id_ for id_ in wanted if self._is_urgent(seen, id_)]
        started = sum(bool(_open_children(seen, id_)) for id_ in wanted if id_ in seen.raw)
        pause = started * ASK_EACH_SECONDS
        others = set(wanted) - set(urgent)
        routine = [id_ for id_ in others if self._is_due(seen, id_, now_seconds, pause)]
        routine.sort(key=lambda id_: (self._asked.get(id_, 0.0), id_))
        return [*urgent, *routine[: max(ASK_AT_ONCE, started // 3)]]

    def _is_urgent(self, seen: Seen, id_: ResourceId) -> bool:
        """Tell whether nothing can be decided without the store's answer."""
        if id_ in self._finished:
            return False
        if id_ not in self._asked:
            return True
        if id_.kind == "RewardModel":
            return False
        if id_ not in seen.raw:
            return False
        # It may have written its proof a moment before it ended.
        return any(evidence_of(c.manifest, c.pods).ended for c in _open_children(seen, id_))

    def _is_due(
        self, seen: Seen, id_: ResourceId, now_seconds: float, started_seconds: float
    ) -> bool:
        asked = self._asked.get(id_)
        if _is_scheduled(seen, id_):
            return asked is None or now_seconds - asked >= ASK_SCHEDULED_SECONDS
        if id_ in self._finished:
            # What was finished as something else may be deleted there, as it is told to the user.
            refused = asked is None or now_seconds - asked >= ASK_STARTED_SECONDS
            return refused and _is_refused(seen, id_)
        if asked is None or id_ not in seen.raw:
            return asked is None or now_seconds - asked >= ASK_STARTED_SECONDS
        started = bool(_open_children(seen, id_))
        pause = max(ASK_STARTED_SECONDS, started_seconds) if started else ASK_IDLE_SECONDS
        return now_seconds - asked >= pause

    def _ask(self, seen: Seen, now_seconds: float) -> Callable[[ResourceId], str]:
        fusions = {i for i, r in seen.resources.items() if getattr(r.spec, "fusion", None)}

        def ask(id_: ResourceId) -> str:
            try:
                self._ask_pin(seen, id_)
                if id_.kind == "RewardModel":
                    return ""
                if _is_scheduled(seen, id_):
                    self._ask_newest(id_)
                completion = read_completion(self._store, id_)
                if completion:
                    self._ask_checkpoint(id_)
                    self._finished[id_] = Finished(completion, None, now_seconds)
                    return ""
                self._finished.pop(id_, None)
                if id_.kind == "TrainingStage":
                    self._ask_progress(id_, id_ in fusions, now_seconds)
                    self._ask_stop(seen, id_)
            except StoreError as error:
                return str(error)
            return ""

        return ask

    def _ask_pin(self, seen: Seen, id_: ResourceId) -> None:
        uri, known = _hub_uri(seen, id_), self._pins.get(id_)
        if uri and (known is None or known.uri != uri):
            found = read_pin(self._store, id_)
            if found is not None:
                self._pins[id_] = found

    def _ask_newest(self, id_: ResourceId) -> None:
        newest = read_newest(self._store, id_)
        if newest is None:
            self._newest.pop(id_, None)
        else:
            self._newest[id_] = newest

    def _ask_progress(self, id_: ResourceId, is_fusion: bool, now_seconds: float) -> None:
        if is_fusion and id_ not in self._collected:
            collected = read_collected(self._store, id_)
            if collected is not None:
                self._collected[id_] = collected
        progress = read_progress(self._store, id_)
        if progress is not None and self._steps.get(id_) != progress.step:
            self._steps[id_] = progress.step
            self._still_since[id_] = now_seconds
        # A step's checkpoint comes a moment after the step.
        if progress is not None and self._checkpoints.get(id_) != progress.step:
            self._ask_checkpoint(id_)

    def _ask_stop(self, seen: Seen, id_: ResourceId) -> None:
        """See whether the newest attempt was asked to save and stop, where that may be."""
        children = _open_children(seen, id_) if id_ in seen.raw else []
        if not children or not _may_be_stopping(seen, id_, children[-1]):
            return
        uid, attempt = seen.owner(id_).uid, children[-1].attempt
        requested_at = read_stop(self._store, id_, attempt, uid)
        if requested_at is not None:
            self._stops[id_] = uid, attempt, requested_at.timestamp()

    def _ask_checkpoint(self, id_: ResourceId) -> None:
        if id_.kind != "TrainingStage":
            return
        newest = newest_checkpoint(self._store.list(f"{id_.folder}/checkpoints"))
        if newest is not None:
            self._checkpoints[id_] = newest


def _hub_uri(seen: Seen, id_: ResourceId) -> str | None:
    """Return the URI of the model of the Hub that a resource uses, if it uses one."""
    resource = seen.resources.get(id_)
    uri = model_uri(resource) if resource else None
    return uri if is_hub(uri) else None


def newest_checkpoint(keys: Iterable[str]) -> int | None:
    """Return the step of the newest complete checkpoint: its manifest is written last.

    Example:
        >>> newest_checkpoint(["a/step-000020/checkpoint.json", "a/step-000040/rank-0.pt"])
        20
    """
    found = (re.search(r"/step-(\d+)/checkpoint\.json$", key) for key in keys)
    return max((int(match[1]) for match in found if match), default=None)


def recorded_completion(raw: Mapping[str, Any], store_url: str) -> Completion | None:
    """Return the completion that a resource's own status has kept, if it has Succeeded."""
    status = raw.get("status") or {}
    conditions = status.get("conditions") or ()
    succeeded = any(c["type"] == "Succeeded" and c["status"] == "True" for c in conditions)
    if not succeeded or not status.get("specDigest"):
        return None
    id_ = ResourceId(raw["kind"], raw["metadata"]["name"])
    folder = f"{store_url.rstrip('/')}/{id_.folder}"
    url = status.get("modelUri") or status.get("result") or folder
    accuracy = status.get("accuracy") or {}
    counts = {name: status[name] for name in ("numRows", "numDropped") if name in status}
    return Completion(
        spec_digest=status["specDigest"],
        digest=status.get("digest") or status.get("modelDigest") or "",
        result=str(url).removeprefix(folder).strip("/") or ".",
        summary={
            **{accuracy_key(mode): accuracy[mode] for mode in ThinkingMode if mode in accuracy},
            **counts,
        },
    )


def _is_refused(seen: Seen, id_: ResourceId) -> bool:
    """Tell whether a resource says that it was finished as something else."""
    found = (seen.raw.get(id_, {}).get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Failed" and c["reason"] == Reason.SPEC_CHANGED for c in found)


def _may_be_stopping(seen: Seen, id_: ResourceId, newest: Child) -> bool:
    """Tell whether the newest attempt may have been asked to stop: it is to, or has ended well."""
    stage = seen.resources.get(id_)
    evidence = evidence_of(newest.manifest, newest.pods)
    suspended = isinstance(stage, TrainingStage) and stage.spec.suspend
    return suspended or (evidence.ended and evidence.failure is None)


def _open_children(seen: Seen, id_: ResourceId) -> list[Child]:
    """Return the children of attempts whose end is not on record."""
    over = {record["number"] for record in seen.recorded(id_).get("attempts") or ()}
    return [child for child in seen.own_children(id_) if child.attempt not in over]


def _is_scheduled(seen: Seen, id_: ResourceId) -> bool:
    found = seen.resources.get(id_)
    return isinstance(found, Evaluation) and found.spec.schedule is not None
