"""Random videos give the frames and times that the `ffmpeg` program gives.

A failure prints its recipe: mend the fault, and keep the recipe as an `@example`.
"""

import random
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from random_videos import OTHER_TRACK, Recipe, make, recipes

from assay_data.video.reading import AvReader, Frame, examine, read
from assay_data.video.standardise import find_ffmpeg

MakeVideo = Callable[..., Path]
Shown = Callable[[Frame], int]
Ffmpeg = Callable[..., None]

SIDE = 64
FEW, MANY = 40, 500
# A failing recipe is short as it is; to make it shorter takes as long as hundreds of videos.
PHASES = (Phase.explicit, Phase.generate)


def by_ffmpeg(path: Path, track: int, shown: Shown) -> tuple[list[int], list[float]]:
    """Return the numbers that frames of a track show, and when they begin, from 0."""
    command = [find_ffmpeg(), "-nostdin", "-hide_banner", "-threads", "1", "-copyts", "-i", path]
    command += ["-map", f"0:{track}", "-vf", "showinfo", "-fps_mode", "passthrough"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True)
    times = [float(t) for t in re.findall(rb" pts_time:(\S+)", done.stderr)]
    frames = np.frombuffer(done.stdout, dtype=np.uint8).reshape(-1, SIDE, SIDE, 3)
    return [shown(frame) for frame in frames], [time - times[0] for time in times]


def check(recipe: Recipe, timed_video: MakeVideo, shown: Shown, ffmpeg: Ffmpeg) -> None:
    """Make a video; compare all its frames and times, and some frames by the faster reader."""
    with tempfile.TemporaryDirectory() as folder:
        path = make(recipe, Path(folder), timed_video, ffmpeg)
        video = examine(path)
        numbers, times = by_ffmpeg(path, video.track, shown)
        if recipe.turn is None and recipe.stream_turn is None:
            assert max(numbers) < OTHER_TRACK
        assert video.timeline.starts_seconds == pytest.approx(times, abs=2e-3)
        ours = [shown(frame) for frame in AvReader(path, video).frames(range(len(times)))]
        assert ours == numbers
        drawn = random.Random(len(times))
        some = sorted(drawn.sample(range(len(times)), min(5, len(times))))
        read_some = read(video, lambda reader: [shown(frame) for frame in reader.frames(some)])
        assert read_some == [numbers[index] for index in some]


@settings(max_examples=FEW, deadline=None, derandomize=True, phases=PHASES)
@given(recipe=recipes())
@example(Recipe("fragments.mp4", "mpeg4", group=1, b_frames=1))  # decord was a frame ahead.
@example(Recipe("avi", "libx264", group=5, b_frames=1, other="sound"))  # All but the first late.
@example(Recipe("ts", "libx264", fps=20, left_out=(5, 6), offset=600.0, b_frames=2))
def test_a_random_video_is_read_as_ffmpeg_reads_it(
    timed_video: MakeVideo, shown: Shown, ffmpeg: Ffmpeg, recipe: Recipe
) -> None:
    check(recipe, timed_video, shown, ffmpeg)


@pytest.mark.release
@pytest.mark.timeout(3000)
@settings(max_examples=MANY, deadline=None, phases=PHASES, database=None)
@given(recipe=recipes())
def test_hundreds_of_random_videos_are_read_as_ffmpeg_reads_them(
    timed_video: MakeVideo, shown: Shown, ffmpeg: Ffmpeg, recipe: Recipe
) -> None:
    check(recipe, timed_video, shown, ffmpeg)
