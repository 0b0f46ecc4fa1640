"""Images made without a builder: archives of one layer, as `docker save` writes them."""

import hashlib
import io
import json
import platform
import sys
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from go_programs import KUBERAY, MINIO, PAUSE, TRAINING_OPERATOR, built

REGISTRY = "assay.test"
"""A registry that is nowhere: its images are only on the node."""
PAUSE_IMAGE = f"{REGISTRY}/pause:1"
"""Holds a pod's network; also waits for a name."""
MINIO_IMAGE = f"{REGISTRY}/minio:tests"
HOST_TAG = "host"
"""Tag of the project's images that are empty and show the machine's own files."""
PROJECT = Path(__file__).resolve().parents[2]

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_MERGED_USR = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_USER = 10001
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class ImageArchive:
    """What an image holds."""

    tags: Sequence[str]
    folders: Mapping[str, int] = field(default_factory=dict)
    """Mode by path."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Target by path."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Content by path of a text file."""
    programs: Mapping[str, Path] = field(default_factory=dict)
    """File of this machine by path."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Env, Entrypoint and so on."""

    def write(self, path: Path) -> Path:
        """Write the archive; nothing in it depends on when it is written."""
        layer = self._layer()
        digest = hashlib.sha256(layer).hexdigest()
        config = {
            "architecture": _ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": dict(self.config),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": list(self.tags), "Layers": ["layer.tar"]}]
        with tarfile.open(path, "w") as archive:
            _add(archive, "config.json", json.dumps(config).encode())
            _add(archive, "layer.tar", layer)
            _add(archive, "manifest.json", json.dumps(manifest).encode())
        return path

    def _layer(self) -> bytes:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as layer:
            for folder, mode in self.folders.items():
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, mode
                layer.addfile(entry)
            for link, target in self.links.items():
                entry = tarfile.TarInfo(link)
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                layer.addfile(entry)
            for name, text in self.texts.items():
                _add(layer, name, text.encode())
            for name, program in self.programs.items():
                _add(layer, name, program.read_bytes(), mode=0o755)
        return content.getvalue()


def small_images() -> list[ImageArchive]:
    """Return the images of what is not the project's, each a static program."""
    pause = built(PAUSE)
    waits = {"pause": pause, "await-name": pause}
    minio = {"programs/minio": built(MINIO), "programs/mkdir": pause}
    manager = {"Entrypoint": ["/manager"], "User": "65532:65532"}
    return [
        ImageArchive([PAUSE_IMAGE], programs=waits, config={"Entrypoint": ["/pause"]}),
        ImageArchive([MINIO_IMAGE], programs=minio, config={"Env": ["PATH=/programs"]}),
        ImageArchive(
            [f"{REGISTRY}/training-operator:tests"],
            programs={"manager": built(TRAINING_OPERATOR)},
            config=manager,
        ),
        ImageArchive(
            [f"{REGISTRY}/kuberay-operator:tests"],
            programs={"manager": built(KUBERAY)},
            config=manager,
        ),
    ]


def host_image() -> ImageArchive:
    """Return the image of the project that holds nothing: the node shows its own files in it."""
    names = ("operator", "data", "trainer")
    tags = [f"{REGISTRY}/assay-{n}:{HOST_TAG}{'-cpu' * (n == 'trainer')}" for n in names]
    folders = dict.fromkeys(("dev", "etc", "home", "opt", "proc", "root", "run", "sys"), 0o755)
    env = {
        "PATH": f"{Path(sys.prefix) / 'bin'}:{_PATH}",
        "HOME": "/tmp",
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    return ImageArchive(
        tags,
        folders={**folders, "usr": 0o755, "tmp": 0o1777, "var": 0o755},
        links={name: f"usr/{name}" for name in _MERGED_USR if (Path("/") / name).is_symlink()},
        texts={
            "etc/passwd": f"root:x:0:0::/root:/bin/sh\nassay:x:{_USER}:{_USER}::/tmp:/bin/sh\n",
            "etc/group": f"root:x:0:\nassay:x:{_USER}:\n",
            "etc/nsswitch.conf": "hosts: files dns\n",
        },
        config={
            "Env": [f"{name}={value}" for name, value in env.items()],
            "User": f"{_USER}:{_USER}",
            "WorkingDir": "/tmp",
            "Entrypoint": ["assay"],
        },
    )


def host_folders() -> list[Path]:
    """Return what of this machine every container sees, read-only, where it lies here."""
    wanted = [
        Path("/usr"),
        Path("/etc/alternatives"),
        Path("/etc/ld.so.cache"),
        Path(sys.base_prefix),
        Path(sys.prefix),
        Path(sys.prefix).resolve(),
        PROJECT,
    ]
    found: list[Path] = []
    for path in sorted(set(wanted)):
        if path.exists() and not any(path.is_relative_to(other) for other in found):
            found.append(path)
    return found


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def tags_of(images: Iterable[ImageArchive]) -> list[str]:
    """Return the names of all images."""
    return [tag for image in images for tag in image.tags]
