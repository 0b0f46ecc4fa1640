"""Standardising videos with ffmpeg, so that format betrays nothing about the class.

Each video is converted by a process of its own, which ends with the one that started it. A video
that is there is whole, and is not made again: a run that was killed goes on where it was.
"""

import ctypes
import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import imageio_ffmpeg

from assay_api import InvalidInput, StoreError
from assay_data.atomic import TEMPORARY, replacing, world_errors, write_json
from assay_data.drops import Drop, DropReason, describe_reasons
from assay_data.sources.folders import VIDEO_EXTENSIONS, list_files

STANDARD = ".standard.json"
"""In the target folder: what its videos were made to be."""
_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux's prctl."""
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Standard:
    """What every video becomes: HEVC, yuv420p10le, without sound. Defaults: GenBuster-200K's.

    Raises:
        InvalidInput: a value is out of range.
    """

    width_pixels: int = 1024
    height_pixels: int = 1024
    """The picture is stretched to width and height; nothing is cut off or filled in."""
    seconds: float = 5.0
    """Longer videos are cut off; shorter ones stay short."""
    fps: float = 24.0
    timeout_seconds: float = 600.0
    """A video that takes longer is dropped."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("width_pixels", "height_pixels"):
            pixels = getattr(self, name)
            if pixels % 2 or not 32 <= pixels <= 8192:
                raise InvalidInput(f"{name} {pixels}: must be even, from 32 to 8192")
        for name, most in (("seconds", 86_400), ("fps", 240), ("timeout_seconds", 86_400)):
            if not 0 < getattr(self, name) <= most:
                raise InvalidInput(f"{name} {getattr(self, name)}: must be above 0, at most {most}")


def standardise_folder(
    source: Path,
    target: Path,
    workers: int,
    progress: Callable[[int, int], None],
    standard: Standard | None = None,
) -> tuple[int, tuple[Drop, ...]]:
    """Write each video of a folder to the same place in another; return how many, and the drops.

    Videos that are already there are not made again.

    Raises:
        InvalidInput: the source is no folder, has no video, or contains the target; the target has
            videos of another standard; or no video can be standardised.
        StoreError: the disk is full or not writable; finished videos are kept.
    """
    places = _places(source, target)
    ffmpeg, wanted = find_ffmpeg(), standard or Standard()
    _prepare_target(target, wanted)

    def convert(video: str) -> Drop | None:
        return _convert(ffmpeg, source / video, places[video], wanted, video)

    pool = ThreadPoolExecutor(workers)
    try:
        drops = tuple(_dropped(pool.map(convert, places), len(places), progress))
    finally:
        pool.shutdown(cancel_futures=True)
    if len(drops) == len(places):
        raise InvalidInput(
            f"none of the {len(places)} videos of {source} can be standardised: "
            f"{describe_reasons(drops)}; the first: {drops[0].source}: {drops[0].detail}"
        )
    return len(places) - len(drops), drops


def _places(source: Path, target: Path) -> dict[str, Path]:
    """Return where each video of the source goes."""
    if not source.is_dir():
        raise InvalidInput(f"source folder {source} does not exist: give a folder of videos")
    if target.resolve().is_relative_to(source.resolve()):
        raise InvalidInput(f"target folder {target} lies in the source {source}: choose another")
    videos = [s for s in list_files(source) if _is_video(s)]
    if not videos:
        raise InvalidInput(
            f"source folder {source} has no videos: allowed extensions are "
            f"{', '.join(sorted(VIDEO_EXTENSIONS))}"
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
    return places


def _prepare_target(target: Path, wanted: Standard) -> None:
    """Note the standard in the target, and remove what a killed run left half done.

    Raises:
        InvalidInput: the target holds videos of another standard.
    """
    look = {name: value for name, value in asdict(wanted).items() if name != "timeout_seconds"}
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
    """Return the path of the system's ffmpeg, or else of the one that imageio-ffmpeg brings."""
    return shutil.which("ffmpeg") or str(imageio_ffmpeg.get_ffmpeg_exe())


def ffmpeg_command(ffmpeg: str, source: Path, target: Path, standard: Standard) -> list[str]:
    """Return the command that standardises one file."""
    size = f"{standard.width_pixels}:{standard.height_pixels}"
    return [
        *(ffmpeg, "-nostdin", "-v", "error", "-xerror", "-y", "-i", f"file:{source}"),
        *("-map", "0:V:0", "-an", "-sn", "-dn", "-map_metadata", "-1"),
        *("-t", f"{standard.seconds:g}"),
        *("-vf", f"scale={size}:flags=bicubic,setsar=1,fps={standard.fps:g}"),
        *("-c:v", "libx265", "-x265-params", "log-level=error"),
        *("-pix_fmt", "yuv420p10le", "-tag:v", "hvc1", "-f", "mp4", f"file:{target}"),
    ]


def _convert(ffmpeg: str, source: Path, place: Path, standard: Standard, video: str) -> Drop | None:
    """Standardise one file; return a drop if that cannot be done."""
    if place.is_file():
        return None
    with world_errors(place, "cannot write a video; those before it were kept"):
        if not source.is_file():
            return Drop(video, DropReason.UNREADABLE, "it is not a regular file")
        if source.stat().st_size == 0:
            return Drop(video, DropReason.EMPTY, "it has 0 bytes")
        try:
            with replacing(place) as temporary:
                done = subprocess.run(
                    ffmpeg_command(ffmpeg, source, temporary, standard),
                    check=True,
                    capture_output=True,
                    timeout=standard.timeout_seconds,
                    preexec_fn=partial(_LIBC.prctl, _DIE_WITH_PARENT, signal.SIGKILL),
                )
                if b"ended prematurely" in done.stderr:
                    raise _Truncated
        except _Truncated:
            return Drop(video, DropReason.TRUNCATED, "it ends before the end that it declares")
        except subprocess.TimeoutExpired:
            detail = f"not done after {standard.timeout_seconds:g} seconds"
            return Drop(video, DropReason.TIMEOUT, detail)
        except subprocess.CalledProcessError as error:
            return _failed(video, place, error)
    return None


class _Truncated(Exception):
    """The file ends too early."""


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
    return Drop(video, DropReason.DECODER_CRASHED if crashed else DropReason.CORRUPT, lines[-1])


def _is_video(source: str) -> bool:
    return PurePosixPath(source).suffix.casefold() in VIDEO_EXTENSIONS


def _dropped(
    outcomes: Iterator[Drop | None], total: int, progress: Callable[[int, int], None]
) -> Iterator[Drop]:
    """Yield the drops among the outcomes, and report each outcome."""
    for done, outcome in enumerate(outcomes, start=1):
        progress(done, total)
        if outcome is not None:
            yield outcome
