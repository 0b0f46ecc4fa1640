"""The project's images on the node: empty ones that show this machine's files, or built ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from image_builder import ImageBuilder, need_tools
from node_images import CHECKOUT, ENVIRONMENT, PROJECT, REGISTRY, ImageArchive
from one_node_cluster import OneNodeCluster

_COMMANDS = {"assay": "assay_trainer.cli.main", "ray": "ray.scripts.scripts"}
_SCRIPT = f'#!/bin/sh\nexec {ENVIRONMENT}/bin/python -m {{module}} "$@"\n'
HOST_TAG, BUILT_TAG = "host", "built"
_PACKAGES = tuple(f"{CHECKOUT}/{name}" for name in ("operator", "trainer", "data"))
_TARGETS = ("operator", "data", "trainer")
_MERGED_USR = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_USER = 10001
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def load_host_image(cluster: OneNodeCluster) -> str:
    """Bring the image that shows this machine's files to a node that does so; return its tag."""
    cluster.load([host_image([_name(target, HOST_TAG) for target in _TARGETS])])
    return HOST_TAG


def load_built_images(cluster: OneNodeCluster) -> str:
    """Build the Dockerfile's targets and bring them to the node; return their tag.

    A quarter of an hour, and 35 GB of disk: the trainer's packages are many.
    """
    need_tools()
    with ImageBuilder(PROJECT) as builder:
        for target in _TARGETS:
            builder.send(target, _name(target, BUILT_TAG), cluster.import_command("-"))
    return BUILT_TAG


def _name(target: str, tag: str) -> str:
    """Return an image's name, as the chart puts it together."""
    return f"{REGISTRY}/assay-{target}:{tag}{'-cpu' if target == 'trainer' else ''}"


def host_image(
    tags: Sequence[str],
    texts: Mapping[str, str] | None = None,
    python_path: str = "",
) -> ImageArchive:
    """Return the image of the project that holds nothing: the node shows its own files in it.

    Args:
        tags: its names.
        texts: files that it holds all the same, for a fault.
        python_path: folder in it whose modules go before the project's.
    """
    folders = dict.fromkeys(("dev", "etc", "home", "opt", "proc", "root", "run", "sys"), 0o755)
    variables = {
        "PATH": f"/opt/assay/bin:{ENVIRONMENT}/bin:{_PATH}",
        "PYTHONPATH": ":".join(filter(None, (python_path, *_PACKAGES))),
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
            **(texts or {}),
        },
        # The environment's own name the Python by its path on this machine.
        scripts={f"opt/assay/bin/{n}": _SCRIPT.format(module=m) for n, m in _COMMANDS.items()},
        config={
            "Env": [f"{name}={value}" for name, value in variables.items()],
            "User": f"{_USER}:{_USER}",
            "WorkingDir": "/tmp",
            "Entrypoint": ["assay"],
        },
    )
