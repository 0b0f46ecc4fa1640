"""Our store against the MinIO client's own calls, in the same run, on the same files and server.

It starts a MinIO of its own. Each round puts and gets the same files all ways, in turns; what
came back is compared with what went before any time is taken. Ours records and compares the SHA-256
of every object; the MinIO client does neither by itself, so it is measured twice: as it is, and
with the same guarantee (the SHA-256 sent as metadata, and compared after the download). The ceiling
is the disk: a copy of the same files. Run by `python benchmarks/data.py store`.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/servers"))

from object_server import ObjectServer

from assay_data.store import Store, open_store

BUCKET = "bench"
PROMISED = {"small": 2.0, "large": 1.0}
"""Least ratio of our rate to that of the MinIO client's own calls with the same guarantee."""
WITHIN = 0.05
"""Two equal programs differ by so much from run to run on one machine."""
SHA256 = "x-amz-meta-sha256"


def add_store(kinds: Any) -> None:
    """Add the options of `store`."""
    store = kinds.add_parser("store", help="bytes per second of our store and of the MinIO client")
    store.add_argument("--kind", choices=["minio", "versitygw"], default="minio")
    store.add_argument("--files", type=int, default=500, help="small files")
    store.add_argument("--file-kib", type=int, default=64)
    store.add_argument("--large-mib", type=int, default=512, help="the large file")
    store.add_argument("--rounds", type=int, default=5)
    store.add_argument("--json", action="store_true", help="print JSON")
    store.set_defaults(run=run_store)


def run_store(arguments: argparse.Namespace) -> int:
    """Measure and print; return 1 where we are slower than promised."""
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as name:
        folder = Path(name)
        os.environ["ASSAY_CACHE"] = str(folder / "cache")
        small = _files(folder / "small", arguments.files, arguments.file_kib * 1024)
        large = _files(folder / "large", 1, arguments.large_mib * 2**20)
        with ObjectServer(arguments.kind, folder / "server") as server:
            os.environ.update(server.environment)
            server.client().make_bucket(BUCKET)
            results = {
                "small": _measure(server, small, folder, arguments.rounds),
                "large": _measure(server, large, folder, arguments.rounds),
            }
    slower = [
        f"{size} {way}"
        for size, found in results.items()
        for way in ("put", "get")
        if found[f"{way}_ratio"] < PROMISED[size] - WITHIN
    ]
    results["peak"] = {"rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    print(json.dumps(results, indent=1) if arguments.json else _text(results))
    print(f"slower than promised: {', '.join(slower) or 'nothing'}", file=sys.stderr)
    return bool(slower)


def _files(folder: Path, count: int, size_bytes: int) -> Path:
    """Write files of random bytes."""
    folder.mkdir()
    rng = random.Random(count)
    for index in range(count):
        with (folder / f"{index:05d}.bin").open("wb") as file:
            for start in range(0, size_bytes, 2**24):
                file.write(rng.randbytes(min(2**24, size_bytes - start)))
    return folder


def _measure(server: ObjectServer, tree: Path, folder: Path, rounds: int) -> dict[str, float]:
    """Return MiB per second of both ways and of the disk, medians over the rounds."""
    size_mib = sum(path.stat().st_size for path in tree.iterdir()) / 2**20
    store = open_store(f"s3://{BUCKET}/ours/{tree.name}")
    ways: dict[str, Callable[[], None]] = {
        "put": lambda: _ours_put(store, tree),
        "get": lambda: _ours_get(store, folder),
        "minio_put": lambda: _theirs_put(server, tree),
        "minio_get": lambda: _theirs_get(server, tree, folder / "theirs"),
        "minio_verified_put": lambda: _theirs_verified_put(server, tree),
        "minio_verified_get": lambda: _theirs_verified_get(server, tree, folder / "verified"),
        "disk_copy": lambda: _copy(tree, folder / "copy"),
    }
    for way in ways.values():
        way()
    _check(tree, store.fetch(""), folder / "theirs", folder / "verified", folder / "copy")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for _ in range(rounds):
        # Nobody is always the one who runs while the disk still writes what another left.
        order = [*order[1:], order[0]]
        for name in order:
            way = ways[name]
            _forget(store, folder, name)
            os.sync()
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    found = {f"{name}_mib_s": size_mib / statistics.median(s) for name, s in seconds.items()}
    for way in ("put", "get"):
        found[f"{way}_ratio"] = found[f"{way}_mib_s"] / found[f"minio_verified_{way}_mib_s"]
        found[f"{way}_ratio_unverified"] = found[f"{way}_mib_s"] / found[f"minio_{way}_mib_s"]
    return found


def _forget(store: Store, folder: Path, name: str) -> None:
    """Make sure that the next round does the work again."""
    if name == "put":
        store.delete("")
    if name == "get":
        # This process holds locks in the old place, so the next round has one of its own.
        shutil.rmtree(os.environ["ASSAY_CACHE"])
        os.environ["ASSAY_CACHE"] = tempfile.mkdtemp(dir=folder)
    if name == "minio_get":
        shutil.rmtree(folder / "theirs")
    if name == "minio_verified_get":
        shutil.rmtree(folder / "verified")
    if name == "disk_copy":
        shutil.rmtree(folder / "copy")


def _ours_put(store: Store, tree: Path) -> None:
    store.publish(tree, "")


def _ours_get(store: Store, folder: Path) -> None:
    store.fetch("")


def _theirs_put(server: ObjectServer, tree: Path) -> None:
    client = server.client()
    for path in sorted(tree.iterdir()):
        client.fput_object(BUCKET, f"theirs/{tree.name}/{path.name}", str(path))


def _theirs_get(server: ObjectServer, tree: Path, target: Path) -> None:
    client = server.client()
    for path in sorted(tree.iterdir()):
        name = f"theirs/{tree.name}/{path.name}"
        client.fget_object(BUCKET, name, str(target / path.name))


def _theirs_verified_put(server: ObjectServer, tree: Path) -> None:
    client = server.client()
    for path in sorted(tree.iterdir()):
        name = f"verified/{tree.name}/{path.name}"
        client.fput_object(BUCKET, name, str(path), metadata={SHA256: _sha256(path)})


def _theirs_verified_get(server: ObjectServer, tree: Path, target: Path) -> None:
    client = server.client()
    for path in sorted(tree.iterdir()):
        name = f"verified/{tree.name}/{path.name}"
        found = client.fget_object(BUCKET, name, str(target / path.name))
        if _sha256(target / path.name) != (found.metadata or {})[SHA256]:
            raise SystemExit(f"{path.name} did not come back as it went")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(tree: Path, target: Path) -> None:
    shutil.copytree(tree, target, dirs_exist_ok=True)


def _check(tree: Path, *copies: Path) -> None:
    """Compare every byte."""
    for path in tree.iterdir():
        if len({_sha256(folder / path.name) for folder in (tree, *copies)}) != 1:
            raise SystemExit(f"{path.name} did not come back as it went")


def _text(results: dict[str, dict[str, float]]) -> str:
    head = f"{'MiB/s':10}{'ours':>8}{'minio-py, verified':>20}{'ratio':>7}"
    lines = [f"{head}{'unverified':>12}{'ratio':>7}"]
    for size in ("small", "large"):
        for way in ("put", "get"):
            found = results[size]
            lines.append(
                f"{size + ' ' + way:10}{found[f'{way}_mib_s']:8.1f}"
                f"{found[f'minio_verified_{way}_mib_s']:20.1f}{found[f'{way}_ratio']:7.2f}"
                f"{found[f'minio_{way}_mib_s']:12.1f}{found[f'{way}_ratio_unverified']:7.2f}"
            )
    copies = ", ".join(f"{size} {results[size]['disk_copy_mib_s']:.0f}" for size in PROMISED)
    lines.append(f"a copy on this disk, MiB/s: {copies}")
    lines.append(f"memory of this process at its peak: {results['peak']['rss_mib']:.0f} MiB")
    return "\n".join(lines)
