"""A table at the end of a run: time per folder, and of each fixture that took long.

Busy cores are those of the whole machine, so they mean something where nothing else runs: near the
number of cores a folder computes, near zero it waits.
"""

import os
import time
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest

_LEAST_SECONDS = 5.0
"""Folders and fixtures that took less stand in one line together."""
_KEY = "fixture seconds"
_TICKS = os.sysconf("SC_CLK_TCK")
_WAITS = (3, 4)
"""Columns of /proc/stat in which a core has nothing to do: idle, and waiting for the disk."""


def busy_seconds() -> float:
    """Return the seconds in which cores of this machine had work, since it was started."""
    with open("/proc/stat") as file:
        columns = [int(column) for column in file.readline().split()[1:9]]
    return sum(t for place, t in enumerate(columns) if place not in _WAITS) / _TICKS


@dataclass
class _Time:
    num_tests: int = 0
    seconds: float = 0.0
    busy: float = 0.0


@dataclass(eq=False)
class TimeReport:
    """A plugin of pytest. With several workers, each sends its fixtures' time with its reports."""

    _folders: defaultdict[str, _Time] = field(default_factory=lambda: defaultdict(_Time))
    _fixtures: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _set_up: list[tuple[str, float]] = field(default_factory=list)
    """Fixtures since the last report."""
    _began_busy: float = 0.0

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Measure the set-up of one fixture, without those that it asks for."""
        began = time.perf_counter()
        try:
            return (yield)
        finally:
            if fixturedef.scope != "function":
                name = f"{fixturedef.baseid or 'tests'}: {fixturedef.argname}"
                self._set_up.append((name, time.perf_counter() - began))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give the report what was measured."""
        report = yield
        busy, self._began_busy = self._began_busy, busy_seconds()
        report.user_properties = [(_KEY, (self._began_busy - busy if busy else 0.0, self._set_up))]
        self._set_up = []
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a phase of a test up."""
        found = self._folders[os.path.dirname(report.nodeid.partition("::")[0])]
        found.num_tests += report.when == "call"
        found.seconds += report.duration
        for key, value in report.user_properties:
            if key == _KEY:
                busy, fixtures = value
                found.busy += busy
                for name, seconds in fixtures:
                    self._fixtures[name] += seconds

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print both tables."""
        total = sum(found.seconds for found in self._folders.values())
        if total < _LEAST_SECONDS:
            return
        terminalreporter.section("time per folder")
        line = "{:>8.1f} s {:>5.1f} busy cores {:>5} tests  {}".format
        rest = _Time()
        for folder, found in sorted(self._folders.items(), key=lambda pair: -pair[1].seconds):
            if found.seconds >= _LEAST_SECONDS:
                cores = found.busy / found.seconds
                terminalreporter.line(line(found.seconds, cores, found.num_tests, folder))
            else:
                rest.num_tests += found.num_tests
                rest.seconds += found.seconds
                rest.busy += found.busy
        if rest.num_tests:
            cores = rest.busy / max(rest.seconds, 0.001)
            terminalreporter.line(line(rest.seconds, cores, rest.num_tests, "all other folders"))
        long = {name: s for name, s in self._fixtures.items() if s >= _LEAST_SECONDS}
        if long:
            terminalreporter.section("time of fixtures, in the tests that were first to ask")
            for name, seconds in sorted(long.items(), key=lambda pair: -pair[1]):
                terminalreporter.line(f"{seconds:>8.1f} s  {name}")
