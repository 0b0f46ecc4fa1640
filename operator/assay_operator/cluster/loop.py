"""The operator's loop: look, decide, act, wait. Every pass decides anew from one look."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from time import perf_counter

from assay_api.base import Status
from assay_api.errors import StoreError
from assay_api.layout import ResourceId
from assay_api.platform import Platform
from assay_operator.children.build import build_children
from assay_operator.children.owner import Manifest, Owner
from assay_operator.cluster.act import Writer
from assay_operator.cluster.actions import decide, needs_no_store
from assay_operator.cluster.api import Api, ApiError
from assay_operator.cluster.ledger import Ledger
from assay_operator.cluster.look import Parser, look, look_again
from assay_operator.cluster.metrics import Metrics
from assay_operator.cluster.observe import observe, uncertain
from assay_operator.cluster.seen import Seen
from assay_operator.conditions import Reason, State, Verdict, conditions
from assay_operator.decision import Workload
from assay_operator.observed import Observed
from assay_operator.records import Writable

logger = logging.getLogger(__name__)

REPAIR_SECONDS = 15.0
"""Everything is looked at this often, whatever events tell or fail to tell."""
MOST_GLANCES = 32
"""So many resources are looked at one by one; more, and a look at everything is cheaper."""
SETTLE_SECONDS = 0.2
"""Events come in bursts: this long after the first one the look begins."""


Poked = tuple[str, ResourceId]
"""Namespace and resource of which something changed: itself, a child, or a child's pod."""


class Wake:
    """Wakes the loop before its time. What it says is only where to look again, never what is."""

    def __init__(self) -> None:
        """Start with nothing to tell."""
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._poked: set[Poked] = set()

    def poke(self, *poked: Poked) -> None:
        """Ask for a look soon."""
        with self._lock:
            self._poked.update(poked)
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Wait until somebody pokes, or until the time is over."""
        self._event.wait(seconds)
        self._event.clear()

    def take(self) -> frozenset[Poked]:
        """Return what was poked since the last time."""
        with self._lock:
            taken, self._poked = frozenset(self._poked), set()
        return taken


class Operator:
    """Looks at everything, asks reconcile about each resource, and has the answers written."""

    def __init__(
        self,
        api: Api,
        writer: Writer,
        platform: Platform,
        store_of: Callable[[str], Writable],
        executor: Executor,
        metrics: Metrics,
        clock: Callable[[], float],
        namespaces: Sequence[str] = (),
    ) -> None:
        """Take everything that it talks to.

        Args:
            api: the API server.
            writer: writes to it.
            platform: what the installation offers.
            store_of: opens the store of a namespace.
            executor: threads for the resources of one pass.
            metrics: are told what happens.
            clock: seconds since the epoch.
            namespaces: those to look at; none: all.
        """
        self._api, self._writer, self._platform = api, writer, platform
        self._store_of, self._executor = store_of, executor
        self._metrics, self._clock, self._namespaces = metrics, clock, namespaces
        self._parser = Parser()
        self._ledgers: dict[str, Ledger] = {}
        self._worlds: dict[str, Seen] = {}
        self._written: set[Poked] = set()

    def tick(self) -> float:
        """Look at everything once and act on it; return the seconds until the next look is due.

        Raises:
            ApiError: the API server does not answer.
        """
        started = perf_counter()
        worlds = look(self._api, self._parser, self._namespaces)
        self._worlds = {seen.namespace: seen for seen in worlds}
        return self._tend_to_all(started)

    def glance(self, poked: Iterable[Poked]) -> float:
        """Look at some resources only, and act on all; return the seconds until the next look.

        Of the others the last look is good enough: whatever it has missed is either told by an
        event of its own, or seen when everything is looked at again. A write that is based on what
        is out of date conflicts, or meets its own name.

        Raises:
            ApiError: the API server does not answer.
        """
        started = perf_counter()
        # What was written by ourselves is another now, whether or not its event has come.
        for namespace, id_ in sorted(self._written.union(poked)):
            seen = self._worlds.get(namespace)
            if seen is not None:
                self._worlds[namespace] = look_again(self._api, self._parser, seen, id_)
        return self._tend_to_all(started)

    def knows(self, poked: Iterable[Poked]) -> bool:
        """Tell whether a glance is enough: the namespaces are known, and it is about few."""
        asked = self._written.union(poked)
        return len(asked) <= MOST_GLANCES and all(name in self._worlds for name, _ in asked)

    def _tend_to_all(self, started: float) -> float:
        self._written = set()
        worlds = list(self._worlds.values())
        due = [self._guard(partial(self._tend, seen), seen.namespace) for seen in worlds]
        states = [(id_.kind, _reason(raw)) for seen in worlds for id_, raw in seen.raw.items()]
        self._metrics.looked(perf_counter() - started, states)
        return min([REPAIR_SECONDS, *due])

    def _tend(self, seen: Seen) -> float:
        """Act on one namespace; return the seconds until its next look is due."""
        now = self._clock()
        try:
            if seen.namespace not in self._ledgers:
                store = self._store_of(seen.namespace)
                self._ledgers[seen.namespace] = Ledger(store, self._executor)
            ledger = self._ledgers[seen.namespace]
            told = ledger.look(seen, now)
        except StoreError as error:
            self._metrics.went_wrong("store")
            logger.error("store: %s", error, extra={"namespace": seen.namespace})
            return REPAIR_SECONDS
        for id_, problem in ledger.problems.items():
            self._metrics.went_wrong("store")
            logger.error("store: %s", problem, extra={"resource": str(id_)})
        observed = observe(seen, told, now)
        unknown = uncertain(seen, told.unknown)
        known = [
            id_
            for id_ in seen.resources
            if id_ not in unknown or needs_no_store(id_, seen, observed)
        ]
        work = [
            *((id_, partial(self._act, seen, observed, id_)) for id_ in known),
            *((id_, partial(self._refuse, seen, id_)) for id_ in seen.invalid),
        ]
        due = self._executor.map(lambda w: self._guard(w[1], seen.namespace, str(w[0])), work)
        return min([REPAIR_SECONDS, *due])

    def _guard(self, act: Callable[[], float], namespace: str, resource: str = "") -> float:
        """Do something about one resource or one namespace; its trouble is not the others'."""
        where = {"resource": resource, "namespace": namespace}
        try:
            return act()
        except ApiError as error:
            self._metrics.went_wrong("write")
            logger.warning("%s", error, extra=where)
            return 1.0
        except Exception:
            # A defect of ours: it is told, the rest goes on, and no status says what is not known.
            self._metrics.went_wrong("defect")
            logger.exception("not tended to", extra=where)
            return REPAIR_SECONDS

    def _act(self, seen: Seen, observed: Observed, id_: ResourceId) -> float:
        actions = decide(observed.resources[id_], seen, observed, self._build)
        ledger, uid = self._ledgers[seen.namespace], seen.owner(id_).uid
        actions = self._writer.ask_to_stop(
            seen.raw[id_],
            actions,
            lambda attempt: ledger.ask_to_stop(id_, uid, attempt, observed.now_seconds),
        )
        if self._writer.carry_out(seen.raw[id_], actions):
            self._written.add((seen.namespace, id_))
        soon = actions.requeue_after
        return REPAIR_SECONDS if soon is None else soon

    def _build(self, workload: Workload, owner: Owner) -> Sequence[Manifest]:
        return build_children(workload, owner, self._platform)

    def _refuse(self, seen: Seen, id_: ResourceId) -> float:
        """Tell that a resource is not valid: the API server let pass what the models refuse."""
        raw = seen.raw[id_]
        generation = int(raw["metadata"].get("generation") or 1)
        verdict = Verdict(State.FAILED, Reason.INPUT_REFUSED, seen.invalid[id_][:1024])
        status = Status(observed_generation=generation, conditions=conditions(verdict, generation))
        self._writer.write_status(raw, status)
        return REPAIR_SECONDS


def _reason(raw: Manifest) -> str:
    found = (raw.get("status") or {}).get("conditions") or ()
    return next((str(c["reason"]) for c in found if c["type"] == "Ready"), "New")


def run(operator: Operator, wake: Wake, stop: threading.Event, alive: Callable[[], None]) -> None:
    """Look whenever something happened, and at everything every so often, until told to stop.

    Args:
        operator: looks and acts.
        wake: is poked by events.
        stop: ends the loop.
        alive: is called after each look that reached the API server.
    """
    pause, looked = 0.0, float("-inf")
    while not stop.is_set():
        wake.wait(pause)
        if stop.wait(SETTLE_SECONDS):
            return
        started, poked = perf_counter(), wake.take()
        try:
            if started - looked < REPAIR_SECONDS and operator.knows(poked):
                pause = operator.glance(poked)
            else:
                looked = started
                pause = operator.tick()
            alive()
            pause = min(pause, max(0.0, looked + REPAIR_SECONDS - perf_counter()))
        except ApiError as error:
            logger.error("the API server does not answer: %s", error)
            pause, looked = 2.0, float("-inf")
        except Exception:
            # A defect of ours. Without a look that succeeds, the process is soon started anew.
            logger.exception("the look failed")
            pause, looked = REPAIR_SECONDS, float("-inf")
        # However much happens, a part of the time is somebody else's.
        if stop.wait(min((perf_counter() - started) / 2, REPAIR_SECONDS)):
            return
