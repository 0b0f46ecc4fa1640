"""What the store remembers of resources: completions, attempts, progress."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Protocol, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from assay_api import Completion, StopRequest
from assay_api.base import Model
from assay_api.errors import StoreError
from assay_api.hub import PinnedModel, is_hub
from assay_api.layout import ResourceId
from assay_api.manifests import Resource
from assay_api.references import model_uri
from assay_operator.local.store import LocalStore
from assay_operator.observed import Finished, Job

COLLECTED = "collected.json"
"""Key of a fusion stage's samples within its folder."""
_JOB: TypeAdapter[Job] = TypeAdapter(Job)
_LOG_TAIL_BYTES = 64 * 1024

Record = TypeVar("Record", bound=BaseModel)


class Readable(Protocol):
    """A store that can be read, addressed by keys with forward slashes."""

    @property
    def url(self) -> str:
        """Address of the store."""
        ...

    def read(self, key: str) -> bytes:
        """Return the content of a key."""
        ...

    def exists(self, key: str) -> bool:
        """Tell whether the key has content."""
        ...

    def list(self, prefix: str = "") -> list[str]:
        """Return all keys under the prefix, sorted."""
        ...


class Writable(Readable, Protocol):
    """A store that can be written as well."""

    def write(self, key: str, data: bytes) -> None:
        """Set the content of a key: entirely, or not at all."""
        ...


class Outcome(Model):
    """How an attempt ended, for `assay explain` and for later runs."""

    exit_code: int = Field(description="Negative: the signal that killed it.")
    stopped: bool = Field(description="Whether the run had asked it to end.")
    step: int = Field(description="Optimiser steps done.")
    seconds: float = Field(description="How long it ran.")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a workload says it is."""

    step: int
    """Steps done."""
    total: int
    """Steps in all."""
    doing: str
    """What it does now."""
    metrics: dict[str, float]
    """A few numbers."""


def read_finished(store: Readable, resource: ResourceId, now_seconds: float) -> Finished | None:
    """Return the resource's completion with the orders that led to it, if it is finished.

    Raises:
        StoreError: it can't be read.
    """
    completion = read_completion(store, resource)
    if completion is None:
        return None
    return Finished(completion, read_job(store, resource), now_seconds)


def read_completion(store: Readable, resource: ResourceId) -> Completion | None:
    """Return the proof that the resource finished, if there is one.

    Raises:
        StoreError: it can't be read.
    """
    if not store.exists(resource.completion_key):
        return None
    return _read(store, resource.completion_key, Completion)


def read_newest(store: Readable, resource: ResourceId) -> Completion | None:
    """Return the newest result of an evaluation with a schedule, if there is one.

    Raises:
        StoreError: it can't be read.
    """
    if not store.exists(resource.newest_key):
        return None
    return _read(store, resource.newest_key, Completion)


def read_job(store: Readable, resource: ResourceId) -> Job | None:
    """Return the newest orders of the resource, if there are any."""
    key = resource.orders_key(last_attempt(store, resource))
    if not store.exists(key):
        return None
    try:
        return _JOB.validate_json(store.read(key))
    except ValidationError:
        # Written by another version of Assay: nothing can be compared.
        return None


def last_attempt(store: Readable, resource: ResourceId) -> int:
    """Return the number of the newest attempt, 0 if there was none."""
    keys = store.list(f"{resource.folder}/orders")
    numbers = (re.search(r"/attempt-(\d+)\.json$", key) for key in keys)
    return max((int(found[1]) for found in numbers if found), default=0)


def read_outcome(store: Readable, resource: ResourceId, attempt: int) -> Outcome | None:
    """Return how an attempt ended; None when it runs or its run was killed."""
    key = resource.outcome_key(attempt)
    return _read(store, key, Outcome) if store.exists(key) else None


def read_progress(store: Readable, resource: ResourceId) -> Progress | None:
    """Return how far the resource's workload says it is, if it says anything."""
    if not store.exists(resource.progress_key):
        return None
    try:
        found = json.loads(store.read(resource.progress_key))
        step, total = int(found["step"]), int(found["total"])
        if step < 0:
            raise ValueError(f"step {step} is negative")
        return Progress(step, total, str(found["doing"]), dict(found["metrics"]))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise _damaged(store, resource.progress_key, error) from None


def read_pin(store: Readable, resource: ResourceId) -> PinnedModel | None:
    """Return what the resource has noted of the model of the Hub that it uses, if it has.

    Raises:
        StoreError: it can't be read.
    """
    return _read(store, resource.pin_key, PinnedModel) if store.exists(resource.pin_key) else None


def read_pins(
    store: Readable,
    resources: Mapping[ResourceId, Resource],
    known: Mapping[ResourceId, PinnedModel] = MappingProxyType({}),
) -> dict[ResourceId, PinnedModel]:
    """Return what resources have noted of models of the Hub; what is known is not read again.

    Raises:
        StoreError: a note can't be read.
    """
    pins = dict(known)
    for id_, resource in resources.items():
        uri, pin = model_uri(resource), pins.get(id_)
        if is_hub(uri) and (pin is None or pin.uri != uri):
            found = read_pin(store, id_)
            if found is not None:
                pins[id_] = found
    return pins


def read_collected(store: Readable, resource: ResourceId) -> str | None:
    """Return the identity of the samples that a fusion stage has collected, if it has.

    Raises:
        StoreError: it can't be read.
    """
    key = f"{resource.folder}/{COLLECTED}"
    if not store.exists(key):
        return None
    try:
        return str(json.loads(store.read(key))["identity"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(store, key, error) from None


def read_stop(store: Readable, resource: ResourceId, attempt: int, uid: str) -> datetime | None:
    """Return when an attempt was asked to save and stop; None: it was not.

    Args:
        store: where the request lies.
        resource: the stage.
        attempt: number of the attempt.
        uid: the stage's own; the request to one before it, of the same name, is none to it.

    Raises:
        StoreError: it can't be read.
    """
    key = resource.stop_key(attempt)
    if not store.exists(key):
        return None
    try:
        found = StopRequest.model_validate_json(store.read(key))
    except ValidationError:
        # It is written anew.
        return None
    return found.requested_at if found.uid == uid else None


def log_tail(store: LocalStore, resource: ResourceId, attempt: int, lines: int) -> list[str]:
    """Return the last lines of an attempt's output."""
    path = store.path(resource.log_key(attempt))
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rpartition("\r")[2] for line in text.splitlines()][-lines:]


def write_record(store: LocalStore, key: str, record: BaseModel) -> None:
    """Set a key to a record, as readable JSON."""
    store.write(key, record.model_dump_json(by_alias=True, indent=2).encode())


def _read(store: Readable, key: str, record: type[Record]) -> Record:
    try:
        return record.model_validate_json(store.read(key))
    except ValidationError as error:
        raise _damaged(store, key, error.errors()[0]["msg"]) from None


def _damaged(store: Readable, key: str, why: object) -> StoreError:
    return StoreError(
        f"{store.url}/{key} is damaged ({why}): delete it and run again, which makes it anew"
    )
