"""See that tests notice each stated mutant: `python tests/mutation/kill_mutants.py [AREA...]`.

Every mutant is written into a copy of the sources in memory, and the tests of its area run there in
a fork of this process, which has loaded the packages of third parties that they load. Prints each
mutant that survives; the exit status is 1 if one does that should not, or one is noticed that is
said to survive.
"""

import argparse
import contextlib
import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from mutants import ROOT, Area, Change, change, read_areas

_PATHS = ("", "operator", "data", "trainer")
"""What is on the path of modules, as for `python -m pytest` at the root."""
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "demo-store*")
_TEST_SECONDS = 60
"""What a test may take: a change may make it wait for ever, which is noticed then."""
_OPTIONS = (
    *("-x", "-q", "-p", "no:cacheprovider", "-o", f"timeout={_TEST_SECONDS}"),
    # Of plugins that were loaded before pytest runs.
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
_IN_MEMORY = Path("/dev/shm")
_PASSED, _FAILED, _BROKEN = 0, 1, 3
"""Exit statuses of pytest."""


@dataclass(frozen=True, slots=True)
class Run:
    """The tests of an area, once."""

    area: str
    tests: Sequence[str]
    change: Change | None
    """None: nothing is changed, and they must pass."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    run: Run
    status: int
    """Of pytest."""
    said: str
    """The end of what pytest printed."""

    @property
    def fault(self) -> str:
        """Return what is wrong with it; empty: nothing."""
        if self.run.change is None:
            return (
                "" if self.status == _PASSED else f"the tests fail without a change:\n{self.said}"
            )
        explained = self.run.change.mutant.survives
        if self.status not in (_PASSED, _FAILED):
            return f"the tests don't run (exit status {self.status}):\n{self.said}"
        if self.status == _FAILED:
            return f"is noticed, although {explained!r} says that it can't be" if explained else ""
        return "" if explained else "SURVIVES: no test notices it"


def main() -> int:
    """Try all mutants of some areas."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("areas", nargs="*", help="files of tests/mutation/mutants (default: all)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="forks side by side")
    parser.add_argument("--loaded", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.loaded:
        return print_loaded(arguments.areas)
    areas = read_areas()
    if unknown := set(arguments.areas) - set(areas):
        parser.error(f"unknown areas {sorted(unknown)}; there are {sorted(areas)}")
    started = time.monotonic()
    chosen = {name: areas[name] for name in arguments.areas or areas}
    runs = [run for name, area in chosen.items() for run in runs_of(name, area)]
    load_packages([test for area in chosen.values() for test in area.tests])
    faults = 0
    for outcome in outcomes(runs, arguments.workers):
        if outcome.fault:
            faults += 1
            print(f"{outcome.run.area}: {name_of(outcome.run)}: {outcome.fault}", flush=True)
    seconds = time.monotonic() - started
    print(f"mutants: {len(runs)} runs in {seconds:.0f} s, {faults} with a fault")
    return 1 if faults else 0


def runs_of(name: str, area: Area) -> Iterator[Run]:
    """Return the runs of an area: without a change, then with each."""
    yield Run(name, area.tests, None)
    for mutant in area.mutants:
        yield Run(name, area.tests, change(mutant))


def name_of(run: Run) -> str:
    """Return what is tried."""
    return run.change.mutant.name if run.change else "as it is"


def load_packages(tests: Sequence[str]) -> None:
    """Load what tests load of third parties, so that no fork has to; ours is loaded there, changed.

    Which that is, a process of its own finds out: what it has loaded of ours is gone with it.
    """
    options = [sys.executable, __file__, "--loaded", *dict.fromkeys(tests)]
    found = subprocess.run(options, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    for module in found.stdout.splitlines()[-1].split():
        importlib.import_module(module)


def print_loaded(tests: Sequence[str]) -> int:
    """Print the modules of packages that are loaded when tests are collected, in their order."""
    sys.path[:0] = [str(ROOT / part) for part in _PATHS]
    status = pytest.main([*_OPTIONS, "--collect-only", *tests])
    packages = f"{sysconfig.get_path('purelib')}/"
    files = ((name, getattr(module, "__file__", None)) for name, module in sys.modules.items())
    print(" ".join(name for name, file in files if file and file.startswith(packages)))
    return int(status)


def outcomes(runs: Sequence[Run], workers: int) -> Iterator[Outcome]:
    """Make the runs side by side, each in a copy of the sources; return what came of them.

    A fork is made by this thread alone, while no other one of this process computes.
    """
    with contextlib.ExitStack() as stack:
        free = [Path(stack.enter_context(copy_of_sources())) for _ in range(workers)]
        running: dict[int, tuple[Run, Path]] = {}
        for run in runs:
            if not free:
                yield collect(running, free)
            copy = free.pop()
            running[start(run, copy)] = run, copy
        while running:
            yield collect(running, free)


def collect(running: dict[int, tuple[Run, Path]], free: list[Path]) -> Outcome:
    """Wait for the first fork that ends."""
    number, waited = os.wait()
    run, copy = running.pop(number)
    if run.change is not None:
        file = run.change.mutant.file
        shutil.copy2(ROOT / file, copy / file)
    free.append(copy)
    said = (copy / "pytest.log").read_text()[-2000:]
    return Outcome(run, os.waitstatus_to_exitcode(waited), said)


def start(run: Run, copy: Path) -> int:
    """Run the tests in a fork; return its process number."""
    if run.change is not None:
        (copy / run.change.mutant.file).write_text(run.change.mutated)
    sys.stdout.flush()
    if number := os.fork():
        return number
    try:
        status = run_pytest(run, copy)
    except BaseException:
        # A fork must not go on as its parent.
        traceback.print_exc()
        status = _BROKEN
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def run_pytest(run: Run, copy: Path) -> int:
    """Run the tests on the sources of the copy, in this process and those that it starts."""
    os.chdir(copy)
    paths = [str(copy / part) for part in _PATHS]
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    # Two changes within a second may leave a file of the same size: no compiled file is kept.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    log = os.open("pytest.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    return int(pytest.main([*_OPTIONS, f"--basetemp={copy / 'made'}", *run.tests]))


@contextlib.contextmanager
def copy_of_sources() -> Iterator[str]:
    """Copy the repository, less what was made in it; the copy goes afterwards."""
    where = _IN_MEMORY if _IN_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="assay-mutants-", dir=where) as folder:
        shutil.copytree(ROOT, folder, ignore=_LEFT_OUT, dirs_exist_ok=True)
        yield folder


if __name__ == "__main__":
    sys.exit(main())
