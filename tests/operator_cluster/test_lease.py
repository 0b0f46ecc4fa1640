"""One writer at a time, whatever clocks, delays and losses there are."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay_operator.children.owner import Manifest
from assay_operator.cluster.api import ApiError, Conflict, Gone
from assay_operator.cluster.kinds import Kind
from assay_operator.cluster.lease import (
    DURATION_SECONDS,
    MARGIN_SECONDS,
    RENEW_SECONDS,
    Lease,
    keep_renewing,
)

Call = Callable[[Callable[[], Any]], Any]


class Server:
    """Keeps the one Lease, and how long the way to it takes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.there: Manifest | None = None
        self.version = 0
        self.calls: list[str] = []
        self.travel: Call = lambda effect: effect()

    def items(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Iterator[Any]:
        raise AssertionError("nothing is listed")

    def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest:
        return self._called("get", self._get)

    def create(self, manifest: Manifest) -> None:
        self._called("create", lambda: self._create(manifest))

    def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        return self._called("replace", lambda: self._replace(manifest))

    def patch_status(self, kind: Kind, manifest: Manifest, status: Mapping[str, Any]) -> None:
        raise AssertionError("a Lease has no status")

    def delete(self, kind: Kind, manifest: Manifest) -> None:
        raise AssertionError("nothing is deleted")

    def _called(self, verb: str, effect: Callable[[], Any]) -> Any:
        self.calls.append(verb)
        return self.travel(effect)

    def _get(self) -> Manifest:
        if self.there is None:
            raise Gone("no lease")
        metadata = {**self.there["metadata"], "resourceVersion": str(self.version)}
        return {**self.there, "metadata": metadata, "spec": dict(self.there["spec"])}

    def _create(self, manifest: Manifest) -> None:
        if self.there is not None:
            raise Conflict("is there")
        self.there, self.version = manifest, self.version + 1

    def _replace(self, manifest: Manifest) -> Manifest:
        if self.there is None or manifest["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict("was changed")
        self.there, self.version = manifest, self.version + 1
        return manifest

    def process(self, name: str, rate: float = 1.0, offset: float = 0.0) -> Lease:
        return Lease(self, "assay", "lease", name, lambda: offset + rate * self.now)

    @property
    def holder(self) -> str:
        assert self.there is not None
        return str(self.there["spec"]["holderIdentity"])


@pytest.fixture
def server() -> Server:
    return Server()


def test_who_comes_first_has_it_until_it_runs_out(server: Server) -> None:
    first, second = server.process("first"), server.process("second", offset=1e6)
    assert (first.held(), first.renew(), second.renew()) == (False, True, False)
    # A holder stops writing 10 s after it has renewed, and 15 s after it was seen it is taken over.
    server.now = 9.9
    assert (first.held(), second.renew()) == (True, False)
    server.now = 10.0
    assert (first.held(), second.renew()) == (False, False)
    server.now = 14.9
    assert not second.renew()
    server.now = 15.0
    assert (second.renew(), first.renew()) == (True, False)
    assert server.there is not None
    assert server.there["spec"]["leaseTransitions"] == 2


def test_each_renewal_makes_the_others_wait_anew(server: Server) -> None:
    first, second = server.process("first"), server.process("second")
    for _ in range(30):
        assert (first.renew(), second.renew()) == (True, False)
        server.now += RENEW_SECONDS
    assert server.there is not None
    assert server.there["spec"]["leaseTransitions"] == 1


def test_a_renewal_counts_from_when_it_was_seen_not_from_when_it_was_asked_for(
    server: Server,
) -> None:
    first, second = server.process("first"), server.process("second")
    first.renew()

    def slow(effect: Callable[[], Any]) -> Any:
        server.travel = lambda effect: effect()
        server.now = 10.0
        first.renew()
        return effect()

    server.travel = slow
    assert not second.renew()
    # 15 s after it asked, but 5 s after what it was told of: the first may write until 20 s.
    server.now = 15.0
    assert (second.renew(), first.held()) == (False, True)
    server.now = 25.0
    assert (second.renew(), first.held()) == (True, False)


def test_a_holder_counts_from_before_it_asked(server: Server) -> None:
    first = server.process("first")

    def slow(effect: Callable[[], Any]) -> Any:
        found = effect()
        server.now += 6.0
        return found

    # The Lease was there from 6 s on at the latest; the answer came at 12 s.
    server.travel = slow
    first.renew()
    server.now, server.travel = 0.0, slow
    assert not first.renew()
    server.travel = lambda effect: effect()
    assert first.renew()


def test_release_lets_the_next_in_at_once_and_only_once(server: Server) -> None:
    first, second = server.process("first"), server.process("second")
    first.renew()
    second.renew()
    first.release()
    assert (first.held(), second.renew(), second.held()) == (False, True, True)
    before = len(server.calls)
    first.release()
    assert len(server.calls) == before


def test_a_release_that_is_late_takes_nothing_from_the_next(server: Server) -> None:
    first, second = server.process("first"), server.process("second")
    first.renew()
    second.renew()

    def slow(effect: Callable[[], Any]) -> Any:
        server.travel = lambda effect: effect()
        server.now += 20
        assert not first.held()
        assert second.renew()
        return effect()

    server.travel = slow
    first.release()
    assert (server.holder, second.held()) == ("second", True)


def test_who_releases_has_stopped_writing_before_the_next_may_begin(server: Server) -> None:
    first = server.process("first")
    first.renew()
    held: list[bool] = []

    def look(effect: Callable[[], Any]) -> Any:
        held.append(first.held())
        return effect()

    server.travel = look
    first.release()
    assert (held, server.holder) == ([False, False], "")


def test_a_renewal_that_got_no_answer_keeps_what_is_left(server: Server) -> None:
    first = server.process("first")
    first.renew()

    def lost(effect: Callable[[], Any]) -> Any:
        raise ApiError("no answer")

    server.travel = lost
    server.now = 9.0
    assert first.renew()
    server.now = 10.0
    assert not first.renew()


def test_who_loses_a_race_does_not_hold(server: Server) -> None:
    first, second = server.process("first"), server.process("second")

    def between(effect: Callable[[], Any]) -> Any:
        server.travel = lambda effect: effect()
        try:
            return effect()
        finally:
            second.renew()

    server.travel = between
    assert not first.renew()
    assert (second.held(), server.holder) == (True, "second")


def test_the_lease_is_renewed_until_the_end_and_then_released(server: Server) -> None:
    stop = threading.Event()
    stop.set()
    lease = server.process("first")
    lease.renew()
    keep_renewing(lease, stop)
    assert (server.holder, lease.held()) == ("", False)


seconds = st.sampled_from([0.0, 0.1, 1.0, 3.0, 4.9, 5.1, 9.0, 10.1, 14.0, 15.1, 29.0])
rates = st.floats(0.9, 1.1)


class TwoProcesses:
    """Two processes with clocks of their own; what happens next is drawn."""

    def __init__(self, data: st.DataObject, rates: tuple[float, float]) -> None:
        self.data, self.rates, self.born = data, rates, 0
        self.server = Server()
        self.processes = [
            self.server.process("a", rates[0], 1e5),
            self.server.process("b", rates[1]),
        ]

    def check(self) -> None:
        assert not (self.processes[0].held() and self.processes[1].held())

    def step(self, who: int) -> None:
        what = self.data.draw(st.sampled_from(["renew"] * 5 + ["release", "restart"]))
        if what == "renew":
            self.processes[who].renew()
        elif what == "release":
            self.processes[who].release()
        else:
            # It was killed: who comes after it has another name, and knows nothing.
            self.born += 1
            self.processes[who] = self.server.process(f"{who}-{self.born}", self.rates[who])
        self.check()

    def travel_of(self, who: int) -> Call:
        def travel(effect: Callable[[], Any]) -> Any:
            self.pause(1 - who)
            fate = self.data.draw(st.sampled_from(["well"] * 6 + ["lost", "no answer"]))
            if fate == "lost":
                raise ApiError("lost on its way")
            result = effect()
            self.check()
            self.pause(1 - who)
            if fate == "no answer":
                raise ApiError("no answer")
            return result

        return travel

    def pause(self, other: int) -> None:
        """Let time pass, in which the other one may act as well."""
        self.server.now += self.data.draw(seconds)
        if self.data.draw(st.booleans()):
            mine, self.server.travel = self.server.travel, lambda effect: effect()
            self.step(other)
            self.server.travel = mine
            self.server.now += self.data.draw(seconds)


@settings(max_examples=150, deadline=None)
@given(st.data(), rates, rates, st.integers(5, 25))
def test_two_never_hold_it_at_once(
    data: st.DataObject, rate: float, other_rate: float, steps: int
) -> None:
    two = TwoProcesses(data, (rate, other_rate))
    for _ in range(steps):
        who = data.draw(st.integers(0, 1))
        two.server.travel = two.travel_of(who)
        two.step(who)
        two.server.travel = lambda effect: effect()
        two.server.now += data.draw(seconds)


def test_a_holder_stops_well_before_others_may_begin() -> None:
    assert DURATION_SECONDS - MARGIN_SECONDS > 3 * RENEW_SECONDS
