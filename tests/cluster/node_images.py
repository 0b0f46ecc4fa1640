"""Images made without a builder: archives of one layer, as `docker save` writes them."""

import hashlib
import io
import json
import platform
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from go_programs import KUBERAY, MINIO, PAUSE, TRAINING_OPERATOR, built

REGISTRY = "assay.test"
"""A registry that is nowhere: its images are only on the node."""
PAUSE_IMAGE = f"{REGISTRY}/pause:1"
"""Holds a pod's network; also waits for a name."""
MINIO_IMAGE = f"{REGISTRY}/minio:tests"
PROJECT = Path(__file__).resolve().parents[2]
ENVIRONMENT, CHECKOUT = "/opt/assay/environment", "/opt/assay/checkout"
"""Where containers see this machine's virtual environment and this checkout."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


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
    scripts: Mapping[str, str] = field(default_factory=dict)
    """Content by path of a script."""
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
            for name, script in self.scripts.items():
                _add(layer, name, script.encode(), mode=0o755)
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


def host_folders() -> dict[Path, str]:
    """Return folders of this machine with the places where every container sees them, read-only.

    The checkout may lie anywhere, below /tmp too, which a pod's own /tmp hides: in containers it
    and its environment have places of their own.
    """
    as_here = ("/usr", "/etc/alternatives", "/etc/ld.so.cache", sys.base_prefix)
    found = {Path(path): path for path in as_here if Path(path).exists()}
    return {**found, Path(sys.prefix).resolve(): ENVIRONMENT, PROJECT: CHECKOUT}


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
