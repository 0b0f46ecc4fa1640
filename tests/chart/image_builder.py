"""Builds the Dockerfile for real: buildah, on a Debian made by debootstrap. As root."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from debian_packages import need_programs
from go_programs import cache_folder
from mounts import unmount_below
from started import Started

SUITE = "bookworm"
BASE = "localhost/debian:12-slim"
TOOLS = ("buildah", "debootstrap")
# Debian's own slim image leaves these out as well.
LEFT_OUT = ("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man", "var/log")
BUILD_SECONDS = 1800
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

_STORE = Path("/var/lib/assay-images")

# A read-only root with an empty /tmp, as a restricted pod has it. Arguments: root, command...
IN_IMAGE = """
root=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -o remount,bind,ro "$root"
exec chroot --userspec=10001:10001 "$root" "$@"
"""


def run(*command: str | Path, **options: Any) -> str:
    """Run a command, and return what it printed; an error shows the end of its output."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=BUILD_SECONDS, **options
    )
    if done.returncode:
        told = (done.stdout + done.stderr)[-4000:]
        raise AssertionError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{told}")
    return done.stdout


def need_tools() -> None:
    """Install buildah and debootstrap where they are missing."""
    need_programs({tool: tool for tool in TOOLS}, "building images (tests/chart/test_images.py)")


def _remove_store() -> None:
    unmount_below(_STORE)
    shutil.rmtree(_STORE, ignore_errors=True)


def debian_base() -> Path:
    """Return an archive of a slim Debian, made once and kept: about a minute."""
    kept = cache_folder() / f"debian-{SUITE}-slim.tar"
    cache_folder().mkdir(parents=True, exist_ok=True)
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_file():
            with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
                _make_base(Path(folder) / "root", kept)
    return kept


def _make_base(root: Path, archive: Path) -> None:
    root.mkdir(mode=0o755)
    run("debootstrap", "--variant=minbase", SUITE, root)
    run("chroot", root, "apt-get", "clean")
    for folder in (*LEFT_OUT, "var/lib/apt/lists"):
        for path in (root / folder).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in (root / "var/cache/apt").glob("*.bin"):
        path.unlink()
    partial = archive.with_suffix(".partial")
    run("tar", "--numeric-owner", "-C", root, "-cf", partial, ".")
    partial.rename(archive)


@dataclass(frozen=True, slots=True)
class Image:
    """A built image."""

    config: dict[str, Any]
    """User, Env, Entrypoint, Cmd, as the image says."""
    root: Path
    """Where its files are seen."""

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as a restricted pod would: user 10001, read-only root, its own /tmp."""
        script = ["unshare", "--mount", "--propagation=private", "sh", "-ec", IN_IMAGE, "sh"]
        env = dict(item.split("=", 1) for item in self.config["Env"])
        return subprocess.run(
            [*script, str(self.root), *command],
            env={**env, "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def content_bytes(self) -> int:
        """Return the sizes of its files, added up."""
        paths = (path.lstat() for path in self.root.rglob("*") if path.is_file())
        return sum({stat.st_ino: stat.st_size for stat in paths}.values())


class ImageBuilder(Started):
    """Builds targets of the Dockerfile; what they share is built once.

    Its store of images has one place on the machine: mounts and files of a run that was killed are
    removed by the next one. A second one waits for the first.
    """

    def __init__(self, project: Path) -> None:
        """Say whose Dockerfile it is."""
        self._project = project
        storage = ("--root", _STORE / "images", "--runroot", _STORE / "run")
        self._buildah = ("buildah", *storage, "--storage-driver", "overlay")
        # What buildah writes for a while, gigabytes of layers, goes with the store, too.
        self._env = {**os.environ, "TMPDIR": str(_STORE)}
        self._lock: IO[str] | None = None

    def start(self) -> None:
        """Begin with no image but the base."""
        self._lock = _STORE.with_suffix(".lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            _remove_store()
            _STORE.mkdir()
            self._import_base()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Delete every image, and what they were mounted with."""
        _remove_store()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _import_base(self) -> None:
        base = self._run("from", "scratch").strip()
        self._run("add", "--quiet", base, debian_base(), "/")
        self._run("config", "--env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", base)
        self._run("commit", "--quiet", base, BASE)

    def build(self, target: str) -> Image:
        """Build a target, and show its files."""
        name = self._built(target, "--layers")
        told = self._run("inspect", "--type", "image", name)
        container = self._run("from", "--pull-never", name).strip()
        root = self._run("mount", container).strip()
        return Image(json.loads(told)["OCIv1"]["config"], Path(root))

    def send(self, target: str, name: str, receiver: Sequence[str | Path]) -> None:
        """Build a target, and give it to a command's standard input, as `docker save` writes it.

        Neither a layer of the build nor an archive of many gigabytes lies on the disk beside it.

        Args:
            target: of the Dockerfile.
            name: the image's name for the receiver.
            receiver: the command.
        """
        archive = f"docker-archive:/dev/stdout:{name}"
        push = [*map(str, self._buildah), "push", "--quiet", self._built(target), archive]
        with subprocess.Popen(push, stdout=subprocess.PIPE, env=self._env) as sending:
            run(*receiver, stdin=sending.stdout)
        assert sending.returncode == 0, f"{name}: buildah push: exit {sending.returncode}"

    def _built(self, target: str, *options: str) -> str:
        name = f"localhost/assay-{target}"
        isolated = ("--isolation", "chroot", "--network", "host", "--pull-never")
        chosen = ("--build-arg", f"BASE={BASE}", "--target", target, "--tag", name)
        # Both see the network as this machine does: chroot isolation has no other.
        self._run("bud", *isolated, *options, *chosen, *self._secrets(), self._project)
        return name

    def _run(self, *arguments: str | Path) -> str:
        return run(*self._buildah, *arguments, env=self._env)

    def _secrets(self) -> list[str]:
        """What pip is told on this machine: an index, a private authority."""
        pip = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        asked = subprocess.run(pip, capture_output=True, text=True)
        lines = ["[global]"]
        if index := os.environ.get("PIP_INDEX_URL") or asked.stdout.strip():
            lines.append(f"index-url = {index}")
        authority = Path(os.environ.get("PIP_CERT") or CERTIFICATES)
        secrets = []
        if authority.is_file():
            lines.append("cert = /run/secrets/ca.crt")
            secrets = ["--secret", f"id=ca,src={authority}"]
        config = _STORE / "pip.conf"
        config.write_text("\n".join(lines) + "\n")
        return [*secrets, "--secret", f"id=pip,src={config}"]
