"""Standardising videos with ffmpeg, so that format betrays nothing about the class."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import imageio_ffmpeg

from assay_api import InvalidInput, StoreError
from assay_data.atomic import replacing, world_errors
from assay_data.drops import Drop, DropReason
from assay_data.sources.folders import VIDEO_EXTENSIONS, list_files


@dataclass(frozen=True, slots=True)
class Standard:
    """What every video becomes: HEVC, yuv420p10le, without sound. Defaults: GenBuster-200K's."""

    width_pixels: int = 1024
    height_pixels: int = 1024
    """The picture is stretched to width and height; nothing is cut off or filled in."""
    seconds: float = 5.0
    """Longer videos are cut off; shorter ones stay short."""
    fps: float = 24.0
    timeout_seconds: float = 600.0
    """A video that takes longer is dropped."""


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
        InvalidInput: the source is no folder, has no video, or contains the target.
        StoreError: the disk is full or not writable; finished videos are kept.
    """
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
    ffmpeg, wanted = find_ffmpeg(), standard or Standard()

    def convert(video: str) -> Drop | None:
        return _convert(ffmpeg, source, target, video, wanted)

    with ThreadPoolExecutor(workers) as pool:
        drops = tuple(_dropped(pool.map(convert, videos), len(videos), progress))
    return len(videos) - len(drops), drops


def find_ffmpeg() -> str:
    """Return the path of the system's ffmpeg, or else of the one that imageio-ffmpeg brings."""
    return shutil.which("ffmpeg") or str(imageio_ffmpeg.get_ffmpeg_exe())


def ffmpeg_command(ffmpeg: str, source: Path, target: Path, standard: Standard) -> list[str]:
    """Return the command that standardises one file."""
    size = f"{standard.width_pixels}:{standard.height_pixels}"
    return [
        *(ffmpeg, "-nostdin", "-v", "error", "-y", "-i", f"file:{source}"),
        *("-map", "0:v:0", "-an", "-sn", "-dn", "-map_metadata", "-1"),
        *("-t", f"{standard.seconds:g}"),
        *("-vf", f"scale={size}:flags=bicubic,setsar=1,fps={standard.fps:g}"),
        *("-c:v", "libx265", "-x265-params", "log-level=error"),
        *("-pix_fmt", "yuv420p10le", "-tag:v", "hvc1", "-f", "mp4", f"file:{target}"),
    ]


def _convert(
    ffmpeg: str, source: Path, target: Path, video: str, standard: Standard
) -> Drop | None:
    """Standardise one file; return a drop if that cannot be done."""
    place = target / (video if video.casefold().endswith(".mp4") else f"{video}.mp4")
    if place.is_file():
        return None
    with world_errors(place, "cannot write a video; those before it were kept"):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with replacing(place) as temporary:
                subprocess.run(
                    ffmpeg_command(ffmpeg, source / video, temporary, standard),
                    check=True,
                    capture_output=True,
                    timeout=standard.timeout_seconds,
                )
        except subprocess.TimeoutExpired:
            detail = f"not done after {standard.timeout_seconds:g} seconds"
            return Drop(video, DropReason.TIMEOUT, detail)
        except subprocess.CalledProcessError as error:
            return _failed(video, place, error)
    return None


def _failed(video: str, place: Path, error: subprocess.CalledProcessError) -> Drop:
    """Return the drop that ffmpeg's failure means; raise StoreError if the disk was the cause."""
    lines = error.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
    if any("No space left" in line or "Disk quota" in line for line in lines):
        raise StoreError(
            f"cannot write {place}: the disk is full; the videos before it were kept: free some "
            "space and run it again"
        )
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
