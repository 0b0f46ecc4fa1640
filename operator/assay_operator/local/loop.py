"""A local run: observe, decide, act, until nothing is left to do."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from assay_api import Completion, RewardModel, TrainingPipeline
from assay_api.errors import InvalidInput
from assay_api.layout import ResourceId
from assay_api.manifests import Resource
from assay_api.references import dependency_graph, identify, in_order, references_of
from assay_operator.conditions import Verdict, verdict_of
from assay_operator.decision import Decision, Role, Workload
from assay_operator.local.command import command_for
from assay_operator.local.gpus import Gpus, machine_gpus, too_few, with_room
from assay_operator.local.leases import Leases
from assay_operator.local.locks import hold
from assay_operator.local.processes import Processes, end_leftovers
from assay_operator.local.server import choose_port
from assay_operator.local.store import LocalStore
from assay_operator.local.world import CommandFor, World
from assay_operator.observed import Attempt, Observed
from assay_operator.pipelines import expand
from assay_operator.policies.identity import refusals
from assay_operator.policies.serving import has_unfinished_consumer
from assay_operator.reconcile import reconcile
from assay_operator.records import Progress

LOOK_EVERY_SECONDS = 0.3
LOOK_AT_BUCKET_EVERY_SECONDS = 2.0
"""Each look asks a server once for every unfinished resource."""


class Reporter(Protocol):
    """Is told what happens during a run."""

    def decided(self, resource: ResourceId, decision: Decision) -> None:
        """Take note of a decision and its events."""
        ...

    def started(self, workload: Workload) -> None:
        """Take note that a workload was started."""
        ...

    def ended(self, resource: ResourceId, attempt: Attempt, completion: Completion | None) -> None:
        """Take note that an attempt ended."""
        ...

    def progress(self, observed: Observed, progress: Mapping[ResourceId, Progress]) -> None:
        """Take note of how far the live workloads are."""
        ...


@dataclass(frozen=True, slots=True)
class ResourceResult:
    """Where a resource stands at the end of a run."""

    resource: ResourceId
    """Which one."""
    verdict: Verdict
    """Its state, and why."""
    seconds: float | None
    """How long its workloads ran in this run; None: none did."""
    completion: Completion | None
    """The proof that it finished, if it did."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended."""

    resources: tuple[ResourceResult, ...]
    """Every resource, in the order in which they depend on each other."""
    interrupted: bool
    """Whether it was asked to stop before it was done."""


def everything(resources: Sequence[Resource]) -> list[Resource]:
    """Return the resources with those that pipelines stand for, each after what it refers to."""
    found: dict[ResourceId, Resource] = {}
    for resource in resources:
        if isinstance(resource, TrainingPipeline):
            found.update({identify(stage): stage for stage in expand(resource)})
        found[identify(resource)] = resource
    references = [
        reference
        for resource in found.values()
        if not isinstance(resource, TrainingPipeline)
        for reference in references_of(resource)
    ]
    return [found[id_] for id_ in in_order(list(found), dependency_graph(references))]


def run_resources(
    resources: Sequence[Resource],
    store: LocalStore,
    reporter: Reporter,
    make_command: CommandFor = command_for,
    gpus: Gpus | None = None,
) -> RunResult:
    """Run the resources on this machine until nothing is left to do, or until an interrupt.

    What is finished in the store is not done again; what was begun goes on.

    Args:
        resources: what the manifests describe, references checked.
        store: where everything lies.
        reporter: is told what happens.
        make_command: makes the command of a workload.
        gpus: those that it may use; None: those of this machine.

    Raises:
        InvalidInput: something was finished with another spec, a port is in use, or a stage needs
            more GPUs than there are; nothing ran.
        StoreError: another run works on one of the resources, or the store fails.
        WorkloadError: a process can't be started, or can't be ended.
    """
    wanted = everything(resources)
    gpus = machine_gpus() if gpus is None else gpus
    ids = [identify(resource) for resource in wanted]
    with hold(store, ids) as leases:
        end_leftovers(store.path("."), ids)
        with Processes(store.path(".")) as processes:
            world = World(wanted, store, processes, make_command, gpus)
            _refuse(world.look(), gpus)
            interrupted = False
            try:
                pause = (
                    LOOK_EVERY_SECONDS if store.on_this_machine else LOOK_AT_BUCKET_EVERY_SECONDS
                )
                _until_settled(world, wanted, reporter, leases, pause, len(gpus.ids))
            except KeyboardInterrupt:
                interrupted = True
                processes.stop_all()
        return RunResult(_results(wanted, world.look()), interrupted)


def _refuse(observed: Observed, gpus: Gpus) -> None:
    problems = [*refusals(observed), *too_few(observed, gpus)]
    for id_, resource in observed.resources.items():
        if isinstance(resource, RewardModel) and has_unfinished_consumer(id_, observed):
            if resource.spec.model is not None:
                choose_port(id_, resource.spec.port)
    if problems:
        raise InvalidInput("\n".join(problems))


def _until_settled(
    world: World,
    wanted: Sequence[Resource],
    reporter: Reporter,
    leases: Leases,
    pause_seconds: float,
    num_gpus: int,
) -> None:
    before = world.look()
    while True:
        leases.check()
        observed = world.look()
        for resource, attempt in newly_ended(before, observed):
            reporter.ended(resource, attempt, observed.completion(resource))
        decisions = {identify(resource): reconcile(resource, observed) for resource in wanted}
        for resource, decision in decisions.items():
            reporter.decided(resource, decision)
        for decision in decisions.values():
            for resource in decision.delete:
                world.stop(resource)
        for workload in choose_starts(decisions, observed, num_gpus):
            world.start(workload)
            reporter.started(workload)
        if is_settled(decisions, observed):
            return
        reporter.progress(observed, world.progress(observed))
        before = observed
        time.sleep(pause_seconds)


def newly_ended(before: Observed, now: Observed) -> list[tuple[ResourceId, Attempt]]:
    """Return the attempts that lived, or did not exist, before and have ended now."""
    ended = []
    for resource, attempts in now.attempts.items():
        seen = {a.number for a in before.attempts_of(resource) if not a.live}
        ended += [(resource, a) for a in attempts if not a.live and a.number not in seen]
    return ended


def choose_starts(
    decisions: Mapping[ResourceId, Decision], observed: Observed, num_gpus: int = 0
) -> list[Workload]:
    """Return the workloads to start now: every server, but one machine does one heavy thing.

    What finds no free GPUs, of those that the machine has, waits for them.
    """
    due = [workload for decision in decisions.values() for workload in decision.apply]
    servers = [workload for workload in due if workload.role is Role.SERVE]
    busy = any(
        resource.kind != "RewardModel" and observed.live_attempt(resource)
        for resource in observed.resources
    )
    heavy = [] if busy else [workload for workload in due if workload.role is not Role.SERVE]
    found = with_room([*servers, *heavy], observed, num_gpus)
    first = next((workload for workload in found if workload.role is not Role.SERVE), None)
    return [workload for workload in found if workload.role is Role.SERVE or workload is first]


def is_settled(decisions: Mapping[ResourceId, Decision], observed: Observed) -> bool:
    """Tell whether nothing runs, nothing is due, and nothing will be by itself."""
    return not any(observed.live_attempt(resource) for resource in observed.resources) and not any(
        decision.apply or decision.requeue_after is not None for decision in decisions.values()
    )


def _results(wanted: Sequence[Resource], observed: Observed) -> tuple[ResourceResult, ...]:
    results = []
    for resource in wanted:
        id_ = identify(resource)
        ran = [
            attempt.ended_seconds - attempt.started_seconds
            for attempt in observed.attempts_of(id_)
            if attempt.ended_seconds is not None
        ]
        verdict = verdict_of(reconcile(resource, observed).status)
        results.append(
            ResourceResult(id_, verdict, sum(ran) if ran else None, observed.completion(id_))
        )
    return tuple(results)
