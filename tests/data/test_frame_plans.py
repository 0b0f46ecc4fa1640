import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from assay_api import FramePlan
from assay_data.video.frames import choose_size, choose_timestamps, cut_clips, visual_tokens


def test_a_5_s_clip_gives_16_frames_at_4_fps_up_to_3_75_s() -> None:
    timestamps, fps = choose_timestamps(FramePlan(), 0.0, 5.0)

    assert timestamps == tuple(i / 4 for i in range(16))
    assert timestamps[-1] == 3.75
    assert fps == 4.0


def test_frames_of_a_later_clip_start_at_its_start() -> None:
    assert choose_timestamps(FramePlan(), 20.0, 25.0)[0][:3] == (20.0, 20.25, 20.5)


@pytest.mark.parametrize("seconds, last, fps", [(20.0, 18.75, 0.8), (60.0, 56.25, 16 / 60)])
def test_the_whole_of_a_long_clip_is_divided_evenly(
    seconds: float, last: float, fps: float
) -> None:
    timestamps, sampled_fps = choose_timestamps(FramePlan(sampling="Whole"), 0.0, seconds)

    assert timestamps[0] == 0.0
    assert timestamps[-1] == pytest.approx(last)
    assert sampled_fps == pytest.approx(fps)


def test_a_long_clip_at_the_plans_rate_is_seen_from_its_start_only() -> None:
    assert choose_timestamps(FramePlan(), 0.0, 60.0)[0][-1] == 3.75


def test_a_clip_too_short_for_the_rate_is_sampled_faster() -> None:
    timestamps, fps = choose_timestamps(FramePlan(), 0.0, 2.0)

    assert fps == 8.0
    assert timestamps == tuple(i / 8 for i in range(16))


@settings(deadline=None)
@given(st.floats(0, 1000), st.floats(0.5, 600), st.sampled_from([2, 8, 16]), st.floats(0.5, 30))
def test_timestamps_ascend_within_the_clip(
    start: float, seconds: float, count: int, fps: float
) -> None:
    timestamps, sampled_fps = choose_timestamps(
        FramePlan(count=count, fps=fps), start, start + seconds
    )

    assert len(set(timestamps)) == count
    assert list(timestamps) == sorted(timestamps)
    assert timestamps[0] == pytest.approx(start, abs=1e-5)
    assert timestamps[-1] < start + seconds + 1e-5
    assert sampled_fps >= fps or seconds > count / fps * 0.99


def test_a_clip_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="no length"):
        choose_timestamps(FramePlan(), 3.0, 3.0)


@pytest.mark.parametrize(
    "size, max_pixels, expected",
    [
        ((384, 384), 147_456, (364, 364)),
        ((1024, 1024), 10_000_000, (1036, 1036)),
        ((1024, 1024), 147_456, (364, 364)),
        ((1920, 1080), 147_456, (504, 280)),
        ((84, 84), 147_456, (84, 84)),
        ((20, 20), 147_456, (56, 56)),
    ],
)
def test_sizes_are_those_computed_by_hand(
    size: tuple[int, int], max_pixels: int, expected: tuple[int, int]
) -> None:
    assert choose_size(FramePlan(max_pixels=max_pixels), *size) == expected


def test_tokens_are_those_computed_by_hand() -> None:
    assert visual_tokens(2, 1036, 1036) == 1369
    assert visual_tokens(16, 364, 364) == 8 * 169
    with pytest.raises(ValueError, match="even"):
        visual_tokens(3, 364, 364)


@settings(deadline=None)  # The first example imports transformers.
@given(st.integers(16, 4000), st.integers(16, 4000), st.sampled_from([3136, 147_456, 1_003_520]))
def test_sizes_equal_the_processors_own_rule(width: int, height: int, max_pixels: int) -> None:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    if max(width, height) > 20 * min(width, height):
        return
    plan = FramePlan(max_pixels=max_pixels, min_pixels=784)
    ours = choose_size(plan, width, height)
    limits = {"min_pixels": 784, "max_pixels": max_pixels}

    assert ours[::-1] == smart_resize(height, width, **limits)
    if ours[0] * ours[1] <= max_pixels:
        assert ours[::-1] == smart_resize(*ours[::-1], **limits)


NO_RESIZING = {"shortest_edge": 784, "longest_edge": 10**9}


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 900),
    st.integers(1, 900),
    st.sampled_from([2, 4, 6]),
    st.sampled_from([784, 50_176, 147_456]),
)
def test_tokens_are_those_that_the_processor_makes_of_the_frames(
    width: int, height: int, count: int, max_pixels: int
) -> None:
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    assume(max(width, height) <= 200 * min(width, height))
    plan = FramePlan(count=count, min_pixels=784, max_pixels=max_pixels)
    size = choose_size(plan, width, height)
    video = np.zeros((count, 3, size[1], size[0]), dtype=np.uint8)

    made = Qwen2VLVideoProcessor()(
        videos=[video], do_sample_frames=False, size=NO_RESIZING, return_tensors="np"
    )

    ((times, rows, columns),) = made["video_grid_thw"].tolist()
    assert (14 * columns, 14 * rows) == size
    assert times * rows * columns // 4 == visual_tokens(count, *size)


@settings(deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from([784, 147_456, 1_003_520]))
def test_half_the_tokens_of_two_frames_are_those_of_a_picture(
    width: int, height: int, max_pixels: int
) -> None:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

    assume(max(width, height) <= 200 * min(width, height))
    size = choose_size(FramePlan(min_pixels=784, max_pixels=max_pixels), width, height)

    patches = Qwen2VLImageProcessor().get_number_of_image_patches(
        size[1], size[0], {"min_pixels": 784, "max_pixels": 10**9}
    )

    assert patches // 4 == visual_tokens(2, *size)


@pytest.mark.parametrize("size", [(4100, 20), (5660, 29), (29, 5660)])
def test_a_strip_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="200 times"):
        choose_size(FramePlan(max_pixels=1_003_520), *size)


def test_a_video_is_cut_into_clips_of_at_least_half_a_second() -> None:
    assert cut_clips(12.3, 5.0, 64) == ((0.0, 5.0), (5.0, 10.0), (10.0, 12.3))
    assert cut_clips(10.4, 5.0, 64) == ((0.0, 5.0), (5.0, 10.0))
    assert cut_clips(60.0, 5.0, 2) == ((0.0, 5.0), (5.0, 10.0))
    assert cut_clips(60.0, None, 64) == ((0.0, 60.0),)
    assert cut_clips(0.4, None, 64) == ()
