"""Standardising videos with ffmpeg, so that format betrays nothing about the class.

Each video is first read by our own reader, in a process that may crash, then converted by a process
of its own, which ends with the one that started it. What came out is read again before it counts. A
video that is there and whole is not made again: a run that was killed goes on where it was.
"""

import ctypes
import json
import os
import re
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath

import imageio_ffmpeg

from assay_api import InvalidInput, StoreError
from assay_data.atomic import TEMPORARY, replacing, world_errors, write_json
from assay_data.drops import Drop, DropReason, UnusableVideo, describe_reasons
from assay_data.sources.folders import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS, list_files
from assay_data.video.isolation import Failure, IsolatedPool
from assay_data.video.look import Look, look_at
from assay_data.video.prepare import Unusable
from assay_data.video.standard import Standard, check_made, ffmpeg_command

STANDARD = ".standard.json"
"""In the target folder: what its videos were made to be."""
_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux's prctl."""
_LIBC = ctypes.CDLL(None)
_ADDRESS = re.compile(" @ 0x[0-9a-f]+")
"""In ffmpeg's messages."""


def standardise_folder(
    source: Path,
    target: Path,
    workers: int,
    progress: Callable[[int, int], None],
    standard: Standard | None = None,
) -> tuple[int, tuple[Drop, ...]]:
    """Write each video of a folder to the same place in another; return how many, and the drops.

    Videos that are already there are not made again. Every other file of the source is a drop.

    Raises:
        InvalidInput: the source is no folder, has no video, or contains the target; the target has
            videos of another standard; or no video can be standardised.
        StoreError: the disk is full or not writable; finished videos are kept.
    """
    places, others = _places(source, target)
    wanted = standard or Standard()
    _prepare_target(target, wanted)
    convert = partial(_convert, find_ffmpeg(), wanted)
    deadline = wanted.timeout_seconds
    threads = ThreadPoolExecutor(workers)
    try:
        with IsolatedPool(look_at, workers=workers, deadline_seconds=deadline) as pool:
            looks = pool.map([source / video for video in places])
            looked = zip(places.items(), looks, strict=True)
            tasks = ((video, source / video, place, look) for (video, place), look in looked)
            outcomes = _in_order(threads, convert, tasks, ahead=2 * workers)
            drops = tuple(_dropped(outcomes, len(places), progress))
    finally:
        threads.shutdown(cancel_futures=True)
    if len(drops) == len(places):
        raise InvalidInput(
            f"none of the {len(places)} videos of {source} can be standardised: "
            f"{describe_reasons(drops)}; the first: {drops[0].source}: {drops[0].detail}"
        )
    every = sorted((*others, *drops), key=lambda drop: drop.source)
    return len(places) - len(drops), tuple(every)


def _places(source: Path, target: Path) -> tuple[dict[str, Path], tuple[Drop, ...]]:
    """Return where each video of the source goes, and the files that are none."""
    if not source.is_dir():
        raise InvalidInput(f"source folder {source} does not exist: give a folder of videos")
    if target.resolve().is_relative_to(source.resolve()):
        raise InvalidInput(f"target folder {target} lies in the source {source}: choose another")
    refused = {name: _refused(source, name) for name in list_files(source)}
    others = tuple(drop for drop in refused.values() if drop is not None)
    videos = [name for name, drop in refused.items() if drop is None]
    if not videos:
        raise InvalidInput(
            f"source folder {source} has no videos (dropped: {describe_reasons(others)}): allowed "
            f"extensions are {', '.join(sorted(VIDEO_EXTENSIONS))}"
        )
    is_mp4 = {video: video.casefold().endswith(".mp4") for video in videos}
    places = {v: target / (v if is_mp4[v] else f"{v}.mp4") for v in videos}
    owners = {place: video for video, place in places.items()}
    for video, place in places.items():
        if owners[place] != video:
            raise InvalidInput(
                f"{source / video} and {source / owners[place]} would both become {place}: "
                "rename one"
            )
    return places, others


def _refused(source: Path, name: str) -> Drop | None:
    """Return the drop of a file that is not worth a look."""
    path = source / name
    if (printable := name.encode(errors="backslashreplace").decode()) != name:
        return Drop(printable, DropReason.UNREADABLE, "its name is not valid UTF-8")
    if PurePosixPath(name).suffix.casefold() not in VIDEO_EXTENSIONS | IMAGE_EXTENSIONS:
        return Drop(name, DropReason.NOT_A_VIDEO, "its extension is no video's")
    if not path.is_file():
        return Drop(name, DropReason.UNREADABLE, "it is not a regular file")
    if path.stat().st_size == 0:
        return Drop(name, DropReason.EMPTY, "it has 0 bytes")
    if not os.access(path, os.R_OK):
        return Drop(name, DropReason.UNREADABLE, "permission denied")
    return None


def _prepare_target(target: Path, wanted: Standard) -> None:
    """Note the standard in the target, and remove what a killed run left half done.

    Raises:
        InvalidInput: the target holds videos of another standard.
    """
    look = wanted.look
    note = target / STANDARD
    with world_errors(target, "cannot write to the target folder"):
        if note.is_file() and (earlier := json.loads(note.read_bytes())) != look:
            raise InvalidInput(
                f"target folder {target} holds videos of another standard, {earlier}, and {look} "
                "is asked for: choose another folder, or delete this one"
            )
        write_json(note, look)
        for leftover in target.rglob(TEMPORARY + "*"):
            leftover.unlink(missing_ok=True)


def find_ffmpeg() -> str:
    """Return the path of the ffmpeg that imageio-ffmpeg brings: the same on every machine.

    `IMAGEIO_FFMPEG_EXE` may name another.
    """
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def _convert(
    ffmpeg: str,
    standard: Standard,
    video: str,
    source: Path,
    place: Path,
    look: Look | Unusable | Failure,
) -> Drop | None:
    """Standardise one file; return a drop if that cannot be done."""
    if isinstance(look, Unusable | Failure):
        return Drop(video, look.reason, look.detail)
    if _is_made(place, standard, look):
        return None
    with world_errors(place, "cannot write a video; those before it were kept"):
        try:
            with replacing(place) as temporary:
                done = subprocess.run(
                    ffmpeg_command(ffmpeg, source, temporary, standard, look),
                    check=True,
                    capture_output=True,
                    timeout=standard.timeout_seconds,
                    preexec_fn=partial(_LIBC.prctl, _DIE_WITH_PARENT, signal.SIGKILL),
                )
                if b"ended prematurely" in done.stderr:
                    detail = "it ends before the end that it declares"
                    raise UnusableVideo(DropReason.TRUNCATED, detail)
                check_made(temporary, standard, look)
        except UnusableVideo as error:
            return Drop(video, error.reason, error.detail)
        except subprocess.TimeoutExpired:
            detail = f"not done after {standard.timeout_seconds:g} seconds"
            return Drop(video, DropReason.TIMEOUT, detail)
        except subprocess.CalledProcessError as error:
            return _failed(video, place, error)
    return None


def _is_made(place: Path, standard: Standard, look: Look) -> bool:
    """Tell whether an earlier run has made this video, whole."""
    try:
        check_made(place, standard, look)
    except (UnusableVideo, OSError):
        return False
    return True


def _failed(video: str, place: Path, error: subprocess.CalledProcessError) -> Drop:
    """Return the drop that ffmpeg's failure means; raise StoreError if the disk was the cause."""
    lines = error.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
    if any("No space left" in line or "Disk quota" in line for line in lines):
        raise StoreError(
            f"cannot write {place}: the disk is full; the videos before it were kept: free some "
            "space and run it again"
        )
    if any("matches no streams" in line for line in lines):
        return Drop(video, DropReason.NO_VIDEO_STREAM, "it has no stream of moving pictures")
    crashed = error.returncode < 0
    reason = DropReason.DECODER_CRASHED if crashed else DropReason.CORRUPT
    # The first line is the cause; what follows says how ffmpeg ends.
    return Drop(video, reason, _ADDRESS.sub("", lines[0]))


def _in_order(
    threads: ThreadPoolExecutor,
    convert: Callable[..., Drop | None],
    tasks: Iterator[tuple[object, ...]],
    ahead: int,
) -> Iterator[Drop | None]:
    """Yield what comes of each task, in their order; begin at most so many before their turn."""
    begun: deque[Future[Drop | None]] = deque()
    for task in tasks:
        begun.append(threads.submit(convert, *task))
        if len(begun) > ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _dropped(
    outcomes: Iterator[Drop | None], total: int, progress: Callable[[int, int], None]
) -> Iterator[Drop]:
    """Yield the drops among the outcomes, and report each outcome."""
    for done, outcome in enumerate(outcomes, start=1):
        progress(done, total)
        if outcome is not None:
            yield outcome
