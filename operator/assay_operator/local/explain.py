"""Why each resource is in its state, what it waits for, what to do: from the same reconcile."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from assay_api.layout import ResourceId
from assay_api.manifests import Resource
from assay_api.references import identify, references_of
from assay_operator.advice import ADVICE
from assay_operator.conditions import State, Verdict, verdict_of
from assay_operator.local.holder import Holder
from assay_operator.local.locks import holder_of
from assay_operator.local.loop import everything
from assay_operator.local.store import LocalStore
from assay_operator.observed import Attempt, Observed
from assay_operator.reconcile import reconcile
from assay_operator.records import (
    last_attempt,
    read_finished,
    read_outcome,
    read_pins,
    read_progress,
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A resource's state in words."""

    resource: ResourceId
    """Which one."""
    verdict: Verdict
    """Its state, and why."""
    advice: str
    """What to do."""
    holder: Holder | None
    """The run that works on it now."""

    def text(self) -> str:
        """Return the explanation for people, on a few lines."""
        lines = [f"{self.resource}: {self.verdict.state} ({self.verdict.reason})"]
        if self.verdict.message:
            lines.append(f"  why: {self.verdict.message}")
        if self.holder:
            lines.append(f"  held by: {self.holder}")
        return "\n".join([*lines, f"  to do: {self.advice}"])

    def plain(self) -> dict[str, Any]:
        """Return the explanation as plain values, for JSON."""
        return {
            "kind": self.resource.kind,
            "name": self.resource.name,
            "state": str(self.verdict.state),
            "reason": str(self.verdict.reason),
            "message": self.verdict.message,
            "advice": self.advice,
            "holder": asdict(self.holder) if self.holder else None,
        }


def explain_resources(resources: Sequence[Resource], store: LocalStore) -> list[Explanation]:
    """Return an explanation of each resource, pipelines' stages included. Changes nothing."""
    wanted = everything(resources)
    observed = _look(wanted, store)
    explanations = []
    for resource in wanted:
        id_ = identify(resource)
        verdict = verdict_of(reconcile(resource, observed).status)
        log = store.path(id_.log_key(max(1, observed.last_attempt[id_])))
        holder = None if verdict.state is State.SUCCEEDED else holder_of(store, id_)
        advice = ADVICE[verdict.reason].here.format(log=log)
        explanations.append(Explanation(id_, verdict, advice, holder))
    return explanations


def _look(wanted: Sequence[Resource], store: LocalStore) -> Observed:
    now = time.monotonic()
    resources = {identify(resource): resource for resource in wanted}
    targets = [reference.target for r in wanted for reference in references_of(r)]
    found = {id_: read_finished(store, id_, now) for id_ in [*resources, *targets]}
    last = {id_: last_attempt(store, id_) for id_ in resources}
    attempts = {id_: _attempt(store, id_, number, now) for id_, number in last.items() if number}
    return Observed(
        store_url=store.url,
        now_seconds=now,
        resources=resources,
        finished={id_: finished for id_, finished in found.items() if finished},
        attempts={id_: (attempt,) for id_, attempt in attempts.items() if attempt},
        last_attempt=last,
        pins=read_pins(store, resources),
    )


def _attempt(store: LocalStore, resource: ResourceId, number: int, now: float) -> Attempt | None:
    """Return the newest attempt as the store and the locks tell of it."""
    outcome = read_outcome(store, resource, number)
    progress = read_progress(store, resource)
    step = progress.step if progress else 0
    if outcome is None:
        return Attempt(number, now, step=step) if holder_of(store, resource) else None
    return Attempt(
        number,
        started_seconds=now - outcome.seconds,
        ended_seconds=now,
        exit_code=outcome.exit_code,
        stopped=outcome.stopped,
        step=outcome.step,
    )
