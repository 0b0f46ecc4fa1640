"""The world of one machine: the store, this run's attempts, and the processes behind them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from assay_api.hub import PinnedModel
from assay_api.layout import ResourceId
from assay_api.manifests import Resource
from assay_api.references import identify, references_of
from assay_operator.decision import Workload
from assay_operator.local.command import Command
from assay_operator.local.gpus import Gpus, gpus_needed
from assay_operator.local.processes import Exit, Processes
from assay_operator.local.server import base_url, choose_port, is_healthy
from assay_operator.local.store import LocalStore
from assay_operator.observed import Attempt, Finished, Observed, ServeOrders
from assay_operator.records import (
    Outcome,
    Progress,
    last_attempt,
    read_finished,
    read_pins,
    read_progress,
    write_record,
)


class CommandFor(Protocol):
    """Makes the command of a workload."""

    def __call__(self, workload: Workload, orders: Path, *, on_gpu: bool) -> Command:
        """Return it, given the file with its orders and whether it has GPUs of its own."""
        ...


class World:
    """Looks, starts and stops; it decides nothing."""

    def __init__(
        self,
        resources: Sequence[Resource],
        store: LocalStore,
        processes: Processes,
        command_for: CommandFor,
        gpus: Gpus,
    ) -> None:
        """Take stock: what is wanted, which attempts were ever made, which GPUs there are."""
        self._resources = {identify(resource): resource for resource in resources}
        self._store = store
        self._processes = processes
        self._command_for = command_for
        self._gpus = gpus
        targets = [reference.target for r in resources for reference in references_of(r)]
        self._known = list(dict.fromkeys([*self._resources, *targets]))
        self._attempts: dict[ResourceId, tuple[Attempt, ...]] = {}
        self._last_attempt = {id_: last_attempt(store, id_) for id_ in self._resources}
        self._finished: dict[ResourceId, Finished] = {}
        self._ports: dict[ResourceId, int] = {}
        self._pins: dict[ResourceId, PinnedModel] = {}

    def look(self) -> Observed:
        """Return the world as it is now; processes first, so that none ends unseen unfinished."""
        now = time.monotonic()
        for resource, ended in self._processes.take_ended().items():
            self._record_end(resource, ended, now)
        for resource, attempts in self._attempts.items():
            if attempts[-1].live:
                self._update(resource, self._watch(resource, attempts[-1]))
        for resource in self._known:
            if resource not in self._finished:
                found = read_finished(self._store, resource, now)
                if found:
                    self._finished[resource] = found
        self._pins = read_pins(self._store, self._resources, self._pins)
        return Observed(
            store_url=self._store.url,
            now_seconds=now,
            resources=self._resources,
            finished=dict(self._finished),
            attempts=dict(self._attempts),
            last_attempt=dict(self._last_attempt),
            pins=dict(self._pins),
        )

    def progress(self, observed: Observed) -> Mapping[ResourceId, Progress]:
        """Return what the live workloads say about how far they are."""
        live = [resource for resource in self._resources if observed.live_attempt(resource)]
        said = {resource: read_progress(self._store, resource) for resource in live}
        return {resource: progress for resource, progress in said.items() if progress}

    def start(self, workload: Workload) -> None:
        """Write a workload's orders and start its process."""
        owner, orders, now = workload.owner, workload.orders, time.monotonic()
        ready_by = None
        if isinstance(orders, ServeOrders):
            # The same port again after a restart: stages were told of it.
            port = self._ports.get(owner) or choose_port(owner, orders.port)
            self._ports[owner] = port
            orders = orders.model_copy(update={"port": port})
            ready_by = now + orders.start_timeout_seconds
        key = owner.orders_key(workload.attempt)
        write_record(self._store, key, orders)
        self._last_attempt[owner] = workload.attempt
        seen = self._gpus.lend(owner, gpus_needed(self._resources[owner]))
        command = self._command_for(
            replace(workload, orders=orders),
            self._store.bring(key),
            on_gpu=owner in self._gpus.lent,
        )
        command = replace(command, env={**command.env, **seen})
        log = self._store.path(owner.log_key(workload.attempt))
        self._processes.start(owner, command, log)
        attempt = Attempt(workload.attempt, now, ready_by_seconds=ready_by)
        self._attempts[owner] = (*self._attempts.get(owner, ()), attempt)

    def stop(self, resource: ResourceId) -> None:
        """Ask the resource's live workload to end."""
        self._processes.stop(resource)

    def _record_end(self, resource: ResourceId, ended: Exit, now: float) -> None:
        self._gpus.take_back(resource)
        attempt = replace(
            self._watch(resource, self._attempts[resource][-1]),
            ended_seconds=now,
            exit_code=ended.exit_code,
            stopped=ended.stopped,
        )
        self._update(resource, attempt)
        outcome = Outcome(
            exit_code=ended.exit_code,
            stopped=ended.stopped,
            step=attempt.step,
            seconds=round(now - attempt.started_seconds, 3),
        )
        self._store.keep(resource.log_key(attempt.number))
        write_record(self._store, resource.outcome_key(attempt.number), outcome)

    def _watch(self, resource: ResourceId, attempt: Attempt) -> Attempt:
        port = self._ports.get(resource)
        if port is not None and attempt.url is None and is_healthy(port):
            return replace(attempt, url=base_url(port))
        progress = read_progress(self._store, resource)
        return replace(attempt, step=progress.step) if progress else attempt

    def _update(self, resource: ResourceId, attempt: Attempt) -> None:
        self._attempts[resource] = (*self._attempts[resource][:-1], attempt)
