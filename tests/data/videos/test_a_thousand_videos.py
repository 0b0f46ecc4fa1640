"""A folder of 1,000 videos, 50 of them broken: counted, resumed after a kill, in little memory."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from assay_data.dataset import ClipDataset
from assay_data.ingest.build import VIDEOS_PER_CHUNK
from assay_data.store import FolderStore

NUM_GOOD, NUM_OF_EACH_KIND = 950, 5
MOST_BYTES = 3 * 2**29
BROKEN = {
    "Corrupt": ("text.mp4", "half.mp4", "cut.jpg"),
    "Duplicate": ("copy.mp4",),
    "Empty": ("empty.mp4",),
    "NoVideoStream": ("sound.mp4",),
    "TooShort": ("short.mp4",),
    "Truncated": ("half.mkv",),
    "Unreadable": ("nowhere.mp4",),
    "Unsupported": ("unknown.mp4",),
}
PROGRAM = """
import sys
from pathlib import Path
from assay_api import Dataset
from assay_data.ingest import build_dataset
from assay_data.store import FolderStore

if __name__ == "__main__":
    spec = {
        "source": {"folder": {"uri": sys.argv[1]}},
        "frames": {"count": 4, "fps": 4.0},
    }
    dataset = Dataset.model_validate({"metadata": {"name": "many"}, "spec": spec})
    note = lambda done, total: print(done, total, flush=True)
    build_dataset(dataset, FolderStore(Path(sys.argv[2])), 2, note)
"""


def write_quickly(path: Path, number: int) -> None:
    """Write a second of 56 x 56 pixels; no two numbers give the same."""
    pixels = np.full((84, 56), 128, dtype=np.uint8)
    pixels[:56] = np.arange(56) * (number % 7) + number % 101
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 56
        for index in range(8):
            pixels[:8, 0] = 20 * index
            pixels[8:24, :] = (number >> np.arange(56) % 10 & 1) * 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="yuv420p")))
        container.mux(stream.encode(None))


def write_broken(folder: Path, clip: Callable[..., Path], scrap: Path) -> None:
    """Write five files of each broken kind; `good-0000.mp4` lies there already."""
    whole = clip(scrap / "a.mp4").read_bytes()
    fast = clip(scrap / "a.mkv", seconds=8.0, size=(320, 240), codec="mpeg4").read_bytes()
    sound = scrap / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = np.zeros((1, 8000), dtype=np.float32)
        samples = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))
    contents = {
        "text.mp4": b"This is no video. " * 100,
        "half.mp4": whole[: len(whole) // 2],
        "cut.jpg": b"\xff\xd8\xff\xe0 cut off",
        "copy.mp4": (folder / "good-0000.mp4").read_bytes(),
        "empty.mp4": b"",
        "sound.mp4": sound.read_bytes(),
        "short.mp4": clip(scrap / "short.mp4", seconds=0.25).read_bytes(),
        "half.mkv": fast[: len(fast) // 3],
        "unknown.mp4": whole.replace(b"avc1", b"zzz1"),
    }
    for number in range(NUM_OF_EACH_KIND):
        for name, data in contents.items():
            (folder / f"{number}-{name}").write_bytes(data)
        (folder / f"{number}-nowhere.mp4").symlink_to("does-not-exist.mp4")


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("thousand")
    for label in ("real", "fake"):
        (root / label).mkdir()
    for number in range(NUM_GOOD):
        label = "fake" if number % 2 else "real"
        write_quickly(root / label / f"good-{number:04d}.mp4", number)
    return root


def pss_bytes(process: psutil.Process) -> int:
    """Return the memory of a process and its descendants, shared pages counted once."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def ingest(
    root: Path, out: Path, kill_when: Callable[[], bool] = lambda: False
) -> tuple[int, list[int], int, list[psutil.Process]]:
    """Ingest in a process of its own; return exit code, progress, peak memory and its workers."""
    with (out.parent / "progress.txt").open("w+") as progress:
        command = [sys.executable, "-c", PROGRAM, str(root), str(out)]
        process = subprocess.Popen(command, stdout=progress)
        watched, peak, workers = psutil.Process(process.pid), 0, list[psutil.Process]()
        while process.poll() is None:
            peak = max(peak, pss_bytes(watched))
            if kill_when():
                workers = watched.children(recursive=True)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            time.sleep(0.1)
        progress.seek(0)
        return process.returncode, [int(line.split()[0]) for line in progress], peak, workers


@pytest.mark.timeout(400)
def test_a_thousand_videos_with_fifty_broken_ones(
    thousand: Path, clip: Callable[..., Path], tmp_path: Path
) -> None:
    write_broken(thousand / "real", clip, tmp_path)
    out = tmp_path / "out"
    chunks = out / ".assay-work" / "chunks"

    def has_chunks() -> bool:
        return len(list(chunks.glob("*.parquet"))) >= 4

    code, _, peak, workers = ingest(thousand, out, has_chunks)

    assert code == -signal.SIGKILL
    assert peak < MOST_BYTES
    assert psutil.wait_procs(workers, timeout=20)[1] == []
    assert FolderStore(out).list() == []
    finished = len(list(chunks.glob("*.parquet")))
    assert finished >= 4

    code, done, peak, _ = ingest(thousand, out)

    assert code == 0
    assert peak < MOST_BYTES
    # Empty files and dangling links are never decoded.
    num_files = NUM_GOOD + 8 * NUM_OF_EACH_KIND
    assert done == list(range(finished * VIDEOS_PER_CHUNK, num_files + 1))
    drops = json.loads((out / "drops.json").read_text())
    expected = {reason: len(names) * NUM_OF_EACH_KIND for reason, names in BROKEN.items()}
    assert Counter(drop["reason"] for drop in drops) == expected
    assert len(drops) == 50
    assert not [
        drop for drop in drops if "good-" in drop["source"] and drop["reason"] != "Duplicate"
    ]
    opened = ClipDataset.open(FolderStore(out))
    assert len(opened.rows()) == len({row.source_sha256 for row in opened.rows()}) == NUM_GOOD
    assert not chunks.exists()
    shutil.rmtree(out)
