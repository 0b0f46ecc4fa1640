"""Processes are found by the marks of their environment, whatever they are doing just then."""

import os
import threading
from pathlib import Path

import pytest

from assay_operator.local.proctree import Process, scan

KERNEL_THREAD = 0x00200000


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A folder laid out as /proc, with process 7 about to run its program."""
    write(tmp_path, 7)
    return tmp_path


def write(
    proc: Path,
    pid: int,
    state: str = "R",
    flags: int = 0,
    environ: bytes = b"",
    cmdline: bytes = b"",
) -> None:
    folder = proc / str(pid)
    folder.mkdir(exist_ok=True)
    (folder / "cmdline").write_bytes(cmdline)
    (folder / "environ").write_bytes(environ)
    (folder / "stat").write_text(f"{pid} (a (b) c) {state} 3 4 5 0 -1 {flags} 0 0")


def test_a_program_that_is_just_being_started_is_waited_for(proc: Path) -> None:
    started = threading.Timer(0.1, lambda: write(proc, 7, environ=b"MARK=a=b\0X=1\0"))
    started.start()
    assert scan(proc)[7] == Process(7, 3, 5, {"MARK": "a=b", "X": "1", "": ""})
    started.join()


def test_a_program_without_environment_is_not_waited_for(proc: Path) -> None:
    write(proc, 7, cmdline=b"sleep\0")
    assert scan(proc)[7].marks == {"": ""}


def test_a_thread_of_the_kernel_is_not_waited_for(
    proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(_: float) -> None:
        raise AssertionError("waited")

    write(proc, 7, flags=KERNEL_THREAD | 0x40)
    monkeypatch.setattr("time.sleep", wait)
    assert 7 in scan(proc)


def test_a_program_that_never_starts_holds_nothing_up(proc: Path) -> None:
    assert scan(proc)[7].marks == {"": ""}


@pytest.mark.parametrize("state", ["Z", "X"])
def test_what_only_waits_to_be_reaped_is_left_out(proc: Path, state: str) -> None:
    write(proc, 7, state=state)
    assert scan(proc) == {}


def test_what_ends_meanwhile_is_left_out(proc: Path) -> None:
    (proc / "7" / "environ").unlink()
    assert scan(proc) == {}


def test_this_process_is_found_with_its_parent() -> None:
    assert scan()[os.getpid()].parent == os.getppid()
