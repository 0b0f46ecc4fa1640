"""The data plane against the libraries it stands on: `python benchmarks/data.py decode | store`.

`decode` takes the frames of a plan out of videos: by the project's reader, by decord alone and by
torchcodec alone, one process each and then several, ours with its limits on time and memory. It
first compares the frames, then times them in turns, with the files in memory and without.
"""

import argparse
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from store import add_store

from assay_api import FramePlan, InvalidInput
from assay_data.sources.folders import VIDEO_EXTENSIONS
from assay_data.video.frames import choose_timestamps
from assay_data.video.isolation import Failure, IsolatedPool
from assay_data.video.standardise import find_ffmpeg

Frames = Sequence[NDArray[np.uint8]]
Taken = tuple[int, float, int]
"""Of one file: how many frames, processor seconds, and the process's peak memory in bytes."""
Turn = Callable[[Sequence[Path]], list[Taken]]
"""Takes the frames of all files."""

PLAN = FramePlan()
LEAST_RATIO = 0.9
"""Less than this share of decord's own rate, in frames per processor second, is a failure."""
_MADE = (("libx264", "yuv420p", "veryfast"), ("libx265", "yuv420p10le", "ultrafast"))


def main() -> int:
    """Run the measurement that is asked for; return 1 if its goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(required=True)
    add_decode(kinds)
    add_store(kinds)
    arguments = parser.parse_args()
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


def add_decode(kinds: Any) -> None:
    """Add the options of `decode`."""
    decode = kinds.add_parser("decode", help="frames per second of our reader, decord, torchcodec")
    decode.add_argument("--videos", type=Path, help="folder; unset: 16 videos made on the spot")
    decode.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    decode.add_argument("--rounds", type=int, default=5)
    decode.add_argument("--json", action="store_true", help="print JSON")
    decode.set_defaults(run=run_decode)


def run_decode(arguments: argparse.Namespace) -> int:
    """Compare and time the readers; return 1 if ours is too slow or returns other frames."""
    with tempfile.TemporaryDirectory() as folder:
        paths = videos_in(arguments.videos) if arguments.videos else made_videos(Path(folder))
        result = {
            "videos": len(paths),
            "frames_per_video": PLAN.count,
            "workers": arguments.workers,
            "rounds": arguments.rounds,
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "differences": differences(paths),
            **timed(paths, arguments.workers, arguments.rounds),
        }
    print(json.dumps(result, indent=1) if arguments.json else as_text(result))
    is_equal = result["differences"]["decord"]["largest"] == 0
    shares = result["ours_to_decord_by_processor"].values()
    return int(not is_equal or min(shares) < LEAST_RATIO)


def videos_in(folder: Path) -> list[Path]:
    """Return the videos of a folder that decord reads rightly, and that are long enough.

    Raises:
        InvalidInput: there is none.
    """
    from assay_data.drops import UnusableVideo
    from assay_data.video.reading import examine

    found = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.casefold() in VIDEO_EXTENSIONS):
        try:
            video = examine(path)
        except UnusableVideo:
            continue
        if video.is_for_decord and len(video.timeline.starts_seconds) >= PLAN.count:
            found.append(path)
    if not found:
        raise InvalidInput(f"--videos {folder} has no video to compare: give MP4, MOV or MKV files")
    return found


def made_videos(folder: Path, count: int = 16) -> list[Path]:
    """Make videos of 5 s at 24 frames per second, 640x360, H.264 and HEVC with 10 bits in turn."""
    paths = [folder / f"{number:02d}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        codec, pixels, preset = _MADE[number % len(_MADE)]
        picture = f"testsrc2=s=640x360:r=24:d=5,hue=h={20 * number},noise=alls=6:allf=t"
        command = [find_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", picture, "-c:v", codec]
        options = ["-preset", preset, "-pix_fmt", pixels, "-g", "48"]
        quiet = ["-x265-params", "log-level=none:open-gop=0"] if codec == "libx265" else []
        subprocess.run([*command, *options, *quiet, str(path)], check=True)
    return paths


def with_ours(path: Path) -> Frames:
    """Take the frames by the project's reader."""
    from assay_data.video.reading import examine, frames_at, read

    video = examine(path)
    times, _ = choose_timestamps(PLAN, 0.0, video.timeline.duration_seconds)
    return read(video, lambda reader: list(reader.frames(frames_at(reader, times))))


def with_decord(path: Path) -> Frames:
    """Take the same frames with nothing but decord."""
    import decord

    video = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    starts = video.get_frame_timestamp(range(len(video)))[:, 0]
    seconds = float(starts[-1] - starts[0]) + float(np.median(np.diff(starts)))
    times, _ = choose_timestamps(PLAN, 0.0, seconds)
    indices = np.searchsorted(starts - starts[0], np.array(times) + 1e-3, side="right") - 1
    frames: Frames = video.get_batch(indices.tolist()).asnumpy()
    return frames


def with_torchcodec(path: Path) -> Frames:
    """Take the same frames with nothing but torchcodec."""
    import torch
    from torchcodec.decoders import VideoDecoder

    torch.set_num_threads(1)
    video = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
    begin, end = video.metadata.begin_stream_seconds, video.metadata.end_stream_seconds
    times, _ = choose_timestamps(PLAN, 0.0, end - begin)
    frames: Frames = video.get_frames_played_at([begin + t + 1e-3 for t in times]).data.numpy()
    return frames


READERS = {"ours": with_ours, "decord": with_decord, "torchcodec": with_torchcodec}


def differences(paths: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Return how far the others' frames are from ours, in steps of 256."""
    found = {}
    for name in ("decord", "torchcodec"):
        largest, means = 0, []
        with pool_of(name, 1) as pool:
            for path, theirs in zip(paths, pool.imap(READERS[name], paths), strict=True):
                apart = np.abs(theirs - np.stack(with_ours(path)).astype(np.int16))
                largest = max(largest, int(apart.max()))
                means.append(float(apart.mean()))
        found[name] = {"largest": largest, "mean": float(np.mean(means))}
    return found


def measure(task: tuple[str, Path]) -> Taken:
    """Take the frames of one file; runs in a worker."""
    name, path = task
    start = time.process_time()
    num_frames = len(READERS[name](path))
    took = time.process_time() - start
    # Not getrusage: its peak is that of the process which started this one, if that was larger.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return num_frames, took, int(peak) * 1024


def timed(paths: Sequence[Path], workers: int, rounds: int) -> dict[str, Any]:
    """Return frames per second and peak memory of each contestant, files cold and warm."""
    seconds: dict[str, list[float]] = {}
    worked: dict[str, list[float]] = {}
    peaks: dict[str, int] = {}
    num_frames = len(paths) * PLAN.count
    with ExitStack() as stack:
        turns = {name: stack.enter_context(turn) for name, turn in contestants(workers).items()}
        for turn in turns.values():
            turn(paths[:workers])  # Starts the processes, imports the libraries.
        for number in range(rounds):
            ordered = list(turns.items())
            for name, turn in ordered[:: 1 if number % 2 == 0 else -1]:
                for state in ("cold", "warm"):
                    if state == "cold":
                        forget(paths)
                    start = time.perf_counter()
                    outcomes = turn(paths)
                    seconds.setdefault(f"{name}, {state}", []).append(time.perf_counter() - start)
                    counts, took, highest = zip(*outcomes, strict=True)
                    assert sum(counts) == num_frames
                    worked.setdefault(f"{name}, {state}", []).append(sum(took))
                    peaks[name] = max(peaks.get(name, 0), *highest)
    rates = {name: num_frames / median(took) for name, took in seconds.items()}
    # Other programs only ever add to it, by taking turns in the caches: the least is nearest.
    work = {name: num_frames / min(took) for name, took in worked.items()}
    spread = {name: (max(took) - min(took)) / median(took) for name, took in seconds.items()}
    return {
        "frames_per_second": rates,
        "spread": spread,
        "peak_bytes_of_a_process": peaks,
        "ours_to_decord": to_decord(rates),
        "frames_per_processor_second": work,
        "ours_to_decord_by_processor": to_decord(work),
    }


def to_decord(rates: dict[str, float]) -> dict[str, float]:
    """Return our rates as shares of decord's with as many processes."""
    return {
        name: rate / rates["decord," + name.partition(",")[2]]
        for name, rate in rates.items()
        if name.startswith("ours")
    }


def contestants(workers: int) -> dict[str, Any]:
    """Return the context of each contestant, by name and number of processes."""
    found: dict[str, Any] = {}
    for count in sorted({1, workers}):
        found |= {f"{name}, {count} x": plain(name, count) for name in READERS}
        found[f"ours isolated, {count} x"] = isolated(count)
    return found


@contextmanager
def pool_of(name: str, workers: int) -> Iterator[Any]:
    """Give a pool of the standard library in which the reader of this name can be imported."""
    import av

    # torchcodec looks for FFmpeg's libraries by their plain names: it gets those of PyAV.
    theirs = Path(av.__file__).parents[1] / "av.libs"
    with tempfile.TemporaryDirectory() as folder:
        for library in theirs.glob("lib[as][vw]*.so.*"):
            stem, _, version = library.name.partition(".so.")
            plain_name = f"{stem.partition('-')[0]}.so.{version.partition('.')[0]}"
            (Path(folder) / plain_name).symlink_to(library)
        if name == "torchcodec":
            os.environ["LD_LIBRARY_PATH"] = f"{folder}:{theirs}"
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            os.environ.pop("LD_LIBRARY_PATH", None)
            yield pool


@contextmanager
def plain(name: str, workers: int) -> Iterator[Turn]:
    """Give the turn of a library in a pool of the standard library."""
    with pool_of(name, workers) as pool:
        yield lambda paths: pool.map(measure, [(name, path) for path in paths], chunksize=1)


@contextmanager
def isolated(workers: int) -> Iterator[Turn]:
    """Give our turn in the processes with limits, as `assay data ingest` has them."""
    with IsolatedPool(measure, workers=workers, deadline_seconds=60.0) as pool:

        def turn(paths: Sequence[Path]) -> list[Taken]:
            outcomes = list(pool.map([("ours", path) for path in paths]))
            return [o for o in outcomes if not isinstance(o, Failure)]

        yield turn


def forget(paths: Sequence[Path]) -> None:
    """Have the kernel forget the files' content, so that the next reader goes to the disk."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def as_text(result: dict[str, Any]) -> str:
    """Return the result for people."""
    lines = [
        f"{result['videos']} videos of {result['frames_per_video']} frames, {result['rounds']} "
        f"rounds, {result['cores']} cores, load {result['load']:.1f}",
        *(
            f"{name:10} differs from ours by at most {d['largest']} of 255, mean {d['mean']:.3f}"
            for name, d in result["differences"].items()
        ),
        f"\n{'':26} frames/s  spread  of decord  by processor  peak MiB",
    ]
    for name, rate in result["frames_per_second"].items():
        share = result["ours_to_decord"].get(name)
        work = result["ours_to_decord_by_processor"].get(name)
        peak = result["peak_bytes_of_a_process"][name.rpartition(",")[0]] / 2**20
        lines.append(
            f"{name:26} {rate:8.0f} {result['spread'][name]:7.0%}"
            f" {f'{share:.2f}' if share else '':>10} {f'{work:.2f}' if work else '':>13}"
            f" {peak:9.0f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
