"""Kill a recipe at random moments, let it go on, and compare the weights with an undisturbed run.

`python benchmarks/interruptions.py -f RECIPE --store FOLDER` runs the recipe twice, in two stores
under FOLDER: once to its end, once with `--kills` SIGKILLs of `assay run`, started again each time.
No process of a killed run may outlive it, and the files of every model must be the same, bit by
bit. What a former call left in FOLDER is gone on with.
"""

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

_SECONDS_TO_END = 60.0


@dataclass(frozen=True, slots=True)
class Kill:
    """One SIGKILL: seconds after the start, what was under way, seconds until all had ended."""

    after_seconds: float
    line: str
    ended_seconds: float


def main() -> int:
    """Run both, print kills and equality; exit code 1 when a file differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-f", dest="manifests", action="append", required=True, metavar="RECIPE")
    parser.add_argument("--store", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seconds", type=float, nargs=2, default=(15.0, 90.0), metavar="S")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="K=V")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    command = [str(Path(sys.executable).with_name("assay")), "run"]
    for manifest in arguments.manifests:
        command += ["-f", manifest]
    for override in arguments.overrides:
        command += ["--set", override]
    undisturbed, disturbed = arguments.store / "undisturbed", arguments.store / "disturbed"

    _finish(command, undisturbed)
    moments = random.Random(arguments.seed)
    kills = [
        _kill(command, disturbed, moments.uniform(*arguments.seconds))
        for _ in range(arguments.kills)
    ]
    _finish(command, disturbed)
    expected, found = model_digests(undisturbed), model_digests(disturbed)
    same = expected == found and bool(expected)
    print(as_json(kills, expected, found) if arguments.json else as_text(kills, expected, found))
    return 0 if same else 1


def model_digests(store: Path) -> dict[str, str]:
    """Return SHA-256 of each file of weights in a store, by its path in the store."""
    digests = {}
    for path in sorted(store.glob("stages/*/model/*.safetensors")):
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        digests[path.relative_to(store).as_posix()] = sha256
    return digests


def as_text(kills: list[Kill], expected: dict[str, str], found: dict[str, str]) -> str:
    """Return kills and files as text."""
    lines = [
        f"kill {number:2d} after {kill.after_seconds:5.1f} s, all ended in "
        f"{kill.ended_seconds:4.1f} s; last line: {kill.line}"
        for number, kill in enumerate(kills, start=1)
    ]
    for path in sorted(expected | found):
        verdict = "same" if expected.get(path) == found.get(path) else "DIFFERS"
        lines.append(f"{verdict:7s} {expected.get(path, 'missing')[:16]}  {path}")
    return "\n".join(lines)


def as_json(kills: list[Kill], expected: dict[str, str], found: dict[str, str]) -> str:
    """Return kills and digests as JSON."""
    rows = [
        {"afterSeconds": kill.after_seconds, "endedSeconds": kill.ended_seconds, "line": kill.line}
        for kill in kills
    ]
    return json.dumps({"kills": rows, "undisturbed": expected, "disturbed": found}, indent=1)


def _finish(command: list[str], store: Path) -> None:
    subprocess.run([*command, "--store", str(store)], check=True, stdout=sys.stderr)


def _kill(command: list[str], store: Path, after_seconds: float) -> Kill:
    store.mkdir(parents=True, exist_ok=True)
    log = store.parent / "disturbed.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--store", str(store)], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        process.wait(after_seconds)
    except subprocess.TimeoutExpired:
        pass
    else:
        raise SystemExit(
            f"the run ended with {process.returncode} before its kill, see {log}: name shorter "
            "--seconds or fewer --kills, and a new --store"
        )
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = time.monotonic()
    _, alive = psutil.wait_procs(family, timeout=_SECONDS_TO_END)
    if alive:
        raise SystemExit(f"outlived the killed run by {_SECONDS_TO_END:.0f} s: {alive}")
    line = log.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
    return Kill(after_seconds, "".join(line), time.monotonic() - killed)


if __name__ == "__main__":
    sys.exit(main())
