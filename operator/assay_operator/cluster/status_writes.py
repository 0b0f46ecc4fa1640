"""Statuses as the API server keeps them: when they changed, and what is worth a write. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from assay_api.base import Status
from assay_operator.children.owner import Manifest

SOFT_SECONDS = 30.0
"""Steps and the wording of messages are written at most this often."""
_SOFT = {"step", "checkpoint"}


def next_status(status: Status, raw: Mapping[str, Any], now_seconds: float) -> dict[str, Any]:
    """Return a status as it is to be written: conditions know when they last changed.

    Args:
        status: what the decision says.
        raw: the status that the server has.
        now_seconds: since the epoch.
    """
    new = _instead(status.model_dump(mode="json", by_alias=True), raw)
    before = {c["type"]: c for c in raw.get("conditions") or ()}
    now = _timestamp(now_seconds)
    for condition in new["conditions"]:
        old = before.get(condition["type"], {})
        same = old.get("status") == condition["status"]
        condition["lastTransitionTime"] = (old.get("lastTransitionTime") if same else None) or now
    return new


def _instead(new: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a merge patch that leaves nothing else there: what is not named would stay."""
    found: dict[str, Any] = {name: None for name in raw if name not in new}
    for name, value in new.items():
        old = raw.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            value = _instead(value, old)
        found[name] = value
    return found


def is_worth_writing(
    new: Mapping[str, Any], raw: Mapping[str, Any], since_last_write_seconds: float
) -> bool:
    """Tell whether a status says something new; what changes all the time is written seldom."""
    if _plain(new) == _plain(raw):
        return False
    hard = _plain(_without_soft(new)) != _plain(_without_soft(raw))
    return hard or since_last_write_seconds >= SOFT_SECONDS


def has_changed_verdict(new: Mapping[str, Any], raw: Mapping[str, Any]) -> bool:
    """Tell whether the resource stands elsewhere now: worth an event."""
    return _verdict(new) != _verdict(raw)


def new_failures(new: Mapping[str, Any], raw: Mapping[str, Any]) -> list[str]:
    """Return whose fault the attempts are that failed since the server's status was written."""
    known = {record["number"] for record in raw.get("attempts") or ()}
    records = (record for record in new.get("attempts") or () if record["number"] not in known)
    return [str(record["failure"]) for record in records if record.get("failure")]


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _verdict(status: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    conditions = status.get("conditions") or ()
    return sorted((c["type"], c["status"], c["reason"]) for c in conditions)


def _without_soft(status: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in status.items() if name not in _SOFT}
    kept["conditions"] = [{**c, "message": ""} for c in status.get("conditions") or ()]
    return kept


def _plain(value: Any) -> Any:
    """Return a value without what a server leaves out: nulls and empty collections."""
    if isinstance(value, Mapping):
        found = {name: _plain(part) for name, part in value.items()}
        return {name: part for name, part in found.items() if part not in (None, [], {})}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value


def event(
    manifest: Manifest, status: Mapping[str, Any], component: str, now_seconds: float
) -> Manifest:
    """Return the event that tells where a resource stands now.

    Its name is made of what it tells: told twice, it is there already.
    """
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    metadata = manifest["metadata"]
    bad = any(
        c["status"] == "True" for c in status["conditions"] if c["type"] in ("Blocked", "Failed")
    )
    at = _timestamp(now_seconds)
    attempt = status.get("attempt", 0)
    moment = int(now_seconds)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{ready['reason'].lower()}.{attempt}.{moment:x}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": manifest["apiVersion"],
            "kind": manifest["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "reason": ready["reason"],
        "message": ready["message"][:1024] or ready["reason"],
        "type": "Warning" if bad else "Normal",
        "source": {"component": component},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
