"""Random videos: what is drawn of each, and how it is made. Each frame shows its millisecond."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

MakeVideo = Callable[..., Path]
Ffmpeg = Callable[..., None]

OTHER_TRACK = 40_000
"""Frames of tracks that are not the video show this and more."""
CODECS: dict[str, tuple[str, ...]] = {
    "mp4": ("libx264", "libx264", "libx265", "mpeg4", "mjpeg"),
    "mov": ("libx264", "libx264", "libx265", "mpeg4", "mjpeg"),
    "fragments.mp4": ("libx264", "libx265", "mpeg4"),
    "mkv": ("libx264", "libx264", "libx265", "mpeg4", "ffv1", "libvpx"),
    "webm": ("libvpx", "libvpx-vp9"),
    "ts": ("libx264", "libx264", "libx265", "mpeg2video"),
    "m2ts": ("libx264", "mpeg2video"),
    "avi": ("libx264", "mpeg4", "mjpeg"),
    "flv": ("libx264",),
}
TURNED = ("mp4", "mov", "fragments.mp4", "mkv", "webm")
"""Containers that say an orientation."""
BASE = {"libvpx": "webm", "libvpx-vp9": "webm", "ffv1": "mkv"}
"""Containers in which codecs are written first; else MP4."""
TURNS = {
    "turn": ("-display_rotation", "90"),
    "half-turn": ("-display_rotation", "180"),
    "turn-back": ("-display_rotation", "270"),
    "mirror": ("-display_hflip",),
    "flip": ("-display_vflip",),
    "mirrored turn": ("-display_rotation", "90", "-display_hflip"),
}


OTHERS = (None, None, "small", "sound", "thumbnail", "preview")


@dataclass(frozen=True)
class Recipe:
    """How a video is made."""

    container: str
    codec: str
    fps: int = 25
    num_frames: int = 40
    left_out: tuple[int, ...] = ()
    """Positions of frames that are missing; their time stays."""
    group: int = 12
    """Frames from one key frame to the next."""
    b_frames: int = 0
    open_groups: bool = False
    offset: float = 0.0
    """Seconds added to the clock."""
    cut: float = 0.0
    """Part of it that is cut off at the start without encoding anew."""
    turn: str | None = None
    stream_turn: str | None = None
    """An orientation that the stream says."""
    other: str | None = None
    """A second track: `small` or `sound` behind the video, `thumbnail` or `preview` before it."""

    @property
    def milliseconds(self) -> tuple[int, ...]:
        """When frames begin, as they show."""
        kept = (i for i in range(self.num_frames) if i not in self.left_out)
        return tuple(1000 * i // self.fps for i in kept)


@st.composite
def recipes(draw: Callable[[Any], Any]) -> Recipe:
    """Draw how a video is made; what its container or codec can't have is left out."""
    container = draw(st.sampled_from(sorted(CODECS)))
    codec = draw(st.sampled_from(CODECS[container]))
    is_avi, is_h264 = container == "avi", codec == "libx264"
    num_frames = draw(st.integers(12, 50))
    has_groups = codec in ("libx264", "libx265", "mpeg4", "mpeg2video")
    dropped = st.lists(st.integers(1, num_frames - 2), max_size=6, unique=True)
    turns = st.sampled_from([None, None, *sorted(TURNS)])
    says = st.sampled_from([None, None, None, "rotate=90", "flip=horizontal"])
    turn = draw(turns) if container in TURNED else None
    fps = draw(st.sampled_from((5, 8, 10, 20, 25, 40, 50)))
    offsets = (0.0, 0.0, 0.08, 3.7, 600.0, *((-0.4,) if num_frames / fps > 2 else ()))
    # AVI can't be cut so, and without edit lists a cut lengthens the other track of fragments.
    is_cut = container not in ("avi", "fragments.mp4") and num_frames / fps > 0.6
    cut = draw(st.sampled_from((0.0, 0.0, 0.2, 0.4))) if is_cut else 0.0
    return Recipe(
        container=container,
        codec=codec,
        fps=fps,
        num_frames=num_frames,
        left_out=() if is_avi or codec == "mpeg2video" else tuple(draw(dropped)),
        group=draw(st.sampled_from((1, 2, 5, 12, 30))),
        b_frames=draw(st.integers(0, 3)) if has_groups else 0,
        # What is cut off before an open group has the headers that a transport stream lacks then.
        open_groups=draw(st.booleans()) and not (cut and container in ("ts", "m2ts")),
        offset=0.0 if is_avi else draw(st.sampled_from(offsets)),
        cut=cut,
        turn=turn,
        stream_turn=draw(says) if is_h264 and turn is None and container in TURNED else None,
        other=draw(st.sampled_from((None, "sound") if container == "m2ts" else OTHERS)),
    )


def make(recipe: Recipe, folder: Path, timed_video: MakeVideo, ffmpeg: Ffmpeg) -> Path:
    """Write the video."""
    ending = "avi" if recipe.container == "avi" else BASE.get(recipe.codec, "mp4")
    clock = recipe.fps if recipe.container == "avi" or recipe.codec == "mpeg2video" else 1000
    options = {"threads": "1", "g": str(recipe.group), "bf": str(recipe.b_frames)}
    if recipe.codec == "libx264":
        options["x264-params"] = f"open-gop={int(recipe.open_groups)}"
        options["preset"] = "veryfast"
    elif recipe.codec == "libx265":
        groups = f"keyint={recipe.group}:bframes={recipe.b_frames}"
        options["x265-params"] = f"{groups}:open-gop={int(recipe.open_groups)}"
        options["preset"] = "ultrafast"
    elif recipe.codec.startswith("libvpx"):
        options |= {"deadline": "realtime", "cpu-used": "8"}
    base = timed_video(
        folder / f"base.{ending}",
        recipe.milliseconds,
        codec=recipe.codec,
        clock=clock,
        pix_fmt="yuvj420p" if recipe.codec == "mjpeg" else "yuv420p",
        **options,
    )
    if recipe.stream_turn:
        stored, base = base, folder / "says.mp4"
        says = f"h264_metadata=display_orientation=insert:{recipe.stream_turn}"
        ffmpeg("-i", stored, "-c", "copy", "-bsf:v", says, base)
    path = folder / f"video.{recipe.container}"
    ffmpeg(*arguments(recipe, base, other_track(recipe, folder, timed_video)), path)
    return path


def other_track(recipe: Recipe, folder: Path, timed_video: MakeVideo) -> Path | None:
    """Write the picture track that is not the video."""
    if recipe.other in (None, "sound"):
        return None
    codec = "libvpx" if recipe.container == "webm" else "libx264"
    step = 1000 // recipe.fps
    num_frames = {
        "small": recipe.num_frames * 3 // 4,
        "thumbnail": 1,
        "preview": recipe.num_frames // 6,
    }
    times = range(OTHER_TRACK, OTHER_TRACK + step * num_frames[recipe.other], step)
    options = {"deadline": "realtime"} if codec == "libvpx" else {"preset": "ultrafast"}
    ending = "webm" if codec == "libvpx" else "mp4"
    side = 32 if recipe.other == "small" else 128
    return timed_video(
        folder / f"other.{ending}", times, codec=codec, side=side, threads="1", **options
    )


def arguments(recipe: Recipe, base: Path, other: Path | None) -> list[object]:
    """Return the arguments of the `ffmpeg` program that copies the tracks."""
    seconds = recipe.milliseconds[-1] / 1000
    before: list[object] = ["-ss", f"{recipe.cut * seconds:.3f}"] if recipe.cut else []
    before += ["-itsoffset", recipe.offset] if recipe.offset else []
    before += TURNS[recipe.turn] if recipe.turn else ()
    found: list[object] = [*before, "-i", base]
    maps: list[object] = ["-map", "0:v"]
    if recipe.other == "sound":
        found += ["-f", "lavfi", "-i", "sine=d=0.5:r=44100"]
        maps += ["-map", "1:a", "-c:a", "libvorbis" if recipe.container == "webm" else "aac"]
    elif other is not None:
        found += ["-i", other]
        second: list[object] = ["-map", "1:v"]
        maps = [*maps, *second] if recipe.other == "small" else [*second, *maps]
        maps += ["-disposition:v", "default"]
    maps += ["-c:v", "copy", "-threads", "1"]
    if recipe.container == "fragments.mp4":
        maps += ["-movflags", "frag_keyframe+empty_moov"]
    return [*found, *maps]
