"""One video file as the clip that a model is shown, by the same steps as a dataset's."""

from pathlib import Path

import numpy as np

from assay_api import FramePlan, InvalidInput
from assay_data.dataset import decode_image
from assay_data.video.prepare import Unusable, VideoTask, prepare_video
from assay_trainer.records import Clip


def clip_of(path: Path, plan: FramePlan) -> Clip:
    """Return the frames of a video's beginning, chosen and sized as the plan says.

    Raises:
        InvalidInput: the file is missing or no usable video; the message says why.
    """
    if not path.is_file():
        raise InvalidInput(f"{path}: there is no such file; give a video, e.g. clip.mp4")
    prepared = prepare_video(VideoTask(path, plan, clip_seconds=None, max_clips=1))
    if isinstance(prepared, Unusable):
        raise InvalidInput(f"{path}: not a usable video: {prepared.reason}: {prepared.detail}")
    first = prepared.clips[0]
    return Clip(np.stack([decode_image(image) for image in first.images]), first.sampled_fps)
