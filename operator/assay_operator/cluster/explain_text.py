"""An explanation as lines for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from assay_operator.cluster.explain import ClusterExplanation, Standing
from assay_operator.cluster.pod_words import PodWords, is_log

MOST_PODS = 8
"""Pods that are shown."""
MOST_CHARACTERS = 200
"""Of an event's message."""
_ATTEMPT_COLUMNS = ("attempt", "failure", "exit code", "step", "ended", "what happened")


def as_text(explanation: ClusterExplanation) -> str:
    """Return an explanation for people, on a few lines."""
    return "\n".join(_lines(explanation))


def _lines(found: ClusterExplanation) -> Iterator[str]:
    standing = found.standing
    yield f"{standing.title} in namespace {found.namespace}"
    if standing.why:
        yield f"  why: {standing.why}"
    if standing.since:
        yield f"  since: {standing.since}"
    yield f"  to do: {found.advice}"
    yield from (f"  note: {note}" for note in found.notes)
    progress = _progress(found.progress)
    if progress:
        yield f"  so far: {progress}"
    yield from _titled("waits for", [_other(other) for other in found.waits_for])
    if found.child:
        yield f"  runs as: {found.child}"
        yield from _pods(found.pods)
    yield from _titled(
        "events",
        [
            f"{_clock(e.at)} {e.type} {e.reason} {e.about}: {_short(e.message)}"
            for e in found.events
        ],
    )
    if found.look:
        yield f"  {'log' if is_log(found.look) else 'more'}: {found.look}"
    yield from _titled("ended attempts", _table(found.attempts))


def _clock(at: str) -> str:
    """Return an RFC 3339 time in UTC without its fraction of a second."""
    return f"{at[:19]}Z"


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."


def _titled(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"  {title}:"
        yield from (f"    {line}" for line in lines)


def _other(other: Standing) -> str:
    return f"{other.title}: {other.why}" if other.why else other.title


def _progress(progress: Mapping[str, Any]) -> str:
    told = []
    if progress.get("attempt"):
        told.append(f"attempt {progress['attempt']}")
    if "totalSteps" in progress:
        told.append(f"step {progress.get('step', 0)} of {progress['totalSteps']}")
    elif "step" in progress:
        told.append(f"model of step {progress['step']}")
    for name, words in _WORDS.items():
        if name in progress:
            told.append(f"{words} {progress[name]}")
    for mode, accuracy in (progress.get("accuracy") or {}).items():
        told.append(f"accuracy {accuracy:.3f} ({mode})")
    return ", ".join(told)


_WORDS = {
    "checkpoint": "checkpoint of step",
    "numRows": "rows",
    "numDropped": "dropped",
    "modelUri": "model at",
    "evaluatedAt": "evaluated at",
    "result": "result at",
    "url": "answers at",
}


def _pods(pods: Sequence[PodWords]) -> Iterator[str]:
    for pod in pods[:MOST_PODS]:
        says = f": {pod.says}" if pod.says else ""
        yield f"    pod {pod.name}: {pod.phase}{says}"
        yield from (f"      | {line}" for line in pod.last_words)
    if len(pods) > MOST_PODS:
        yield f"    and {len(pods) - MOST_PODS} pods more"


def _table(attempts: Sequence[Mapping[str, Any]]) -> list[str]:
    if not attempts:
        return []
    rows = [_ATTEMPT_COLUMNS, *(_row(attempt) for attempt in attempts)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_ATTEMPT_COLUMNS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(attempt: Mapping[str, Any]) -> tuple[str, ...]:
    cells = (
        attempt.get("number"),
        attempt.get("failure"),
        attempt.get("exitCode"),
        attempt.get("step"),
        attempt.get("endedAt"),
        attempt.get("message"),
    )
    return tuple("-" if cell in (None, "") else str(cell) for cell in cells)
