"""Rollout engines, visual tokens, hosts and pods, by hand and against the code they speak of."""

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from assay_api import Dataset, FramePlan
from assay_api.platform import NodePool
from assay_data.video.frames import choose_size, visual_tokens
from assay_operator.children.placement import Site, spread
from assay_operator.sizing.host import engine_host, learner_host
from assay_operator.sizing.rollout import (
    EngineJob,
    plan_engine,
    sequences_at_once,
)
from assay_operator.sizing.shape import KNOWN
from assay_operator.sizing.split import equal_pods, split
from assay_operator.sizing.step_time import Speeds, forward_flops, rollout_seconds
from assay_operator.sizing.terms import GIB
from assay_operator.sizing.visual import clip_of, tokens_of_frame

ROOT = Path(__file__).parents[2]
SEVEN = KNOWN["Qwen2.5-VL-7B"]
POOL = NodePool(gpus_per_node=8, gpu_memory_gib=40, nodes=4, memory_gib=1000, shm_gib=64)


def engine(tensor_parallel: int = 1) -> EngineJob:
    return EngineJob(
        shape=SEVEN,
        number_bytes=2,
        tensor_parallel=tensor_parallel,
        prompt_tokens=1600,
        completion_tokens=800,
        group_size=8,
    )


def test_the_7b_model_on_a_gpu_of_40_gib() -> None:
    plan = plan_engine(engine(), 40 * GIB)
    terms = {term.name: term.num_bytes for term in plan.terms}
    assert terms["weights"] == 2 * 8_292_166_656
    text = 8192 * 2 * (3 * 18944 + 4 * 3584) + 256 * 152_064 * 8
    assert terms["forward"] >= text
    assert plan.cache_bytes == int(0.9 * 40 * GIB) - sum(terms.values())
    # 2 x 28 layers x 512 x 2 bytes of each token.
    assert plan.cache_tokens == plan.cache_bytes // 57_344 // 16 * 16
    # A group takes 1,600 + 8 x 800 tokens; 256 completions are 32 groups.
    assert plan.sequences == min(256, plan.cache_tokens // 8000 * 8 + 1)
    assert plan.fits


def test_the_72b_model_does_not_start_on_one_gpu_and_does_on_four_of_80_gib() -> None:
    job = EngineJob(KNOWN["Qwen2.5-VL-72B"], 2, 1, 1600, 800, group_size=8)
    assert not plan_engine(job, 80 * GIB).fits
    four = EngineJob(KNOWN["Qwen2.5-VL-72B"], 2, 4, 1600, 800, group_size=8)
    assert plan_engine(four, 80 * GIB).fits


def test_tensor_parallel_divides_weights_and_keys_up_to_the_number_of_heads() -> None:
    one, eight = plan_engine(engine(), 40 * GIB), plan_engine(engine(8), 40 * GIB)
    assert eight.terms[0].num_bytes == one.terms[0].num_bytes // 8
    assert eight.cache_tokens == eight.cache_bytes // (57_344 // 4) // 16 * 16


@pytest.mark.parametrize(
    ("cache_tokens", "sequences"),
    [(0, 0), (2384, 0), (2400, 1), (8000, 8), (8000 + 2400, 9), (10_000_000, 256)],
)
def test_completions_of_a_group_share_their_prompt(cache_tokens: int, sequences: int) -> None:
    assert sequences_at_once(engine(), cache_tokens) == sequences


@given(
    width=st.integers(28, 4000),
    height=st.integers(28, 4000),
    max_pixels=st.integers(784, 1_000_000),
    count=st.integers(1, 32).map(lambda half: 2 * half),
)
def test_visual_tokens_are_those_of_the_data_plane(
    width: int, height: int, max_pixels: int, count: int
) -> None:
    assume(max(width, height) / min(width, height) < 100)
    plan = FramePlan(min_pixels=784, max_pixels=max_pixels, count=count)
    expected = visual_tokens(count, *choose_size(plan, width, height))
    assert count // 2 * tokens_of_frame(plan, (width, height)) == expected
    # A long strip is a token wide at least, whatever the budget.
    if max(width, height) / min(width, height) < max_pixels / 784:
        assert tokens_of_frame(plan, (width, height)) <= max_pixels // 784


def dataset(**source: object) -> Dataset:
    return Dataset.model_validate(
        {
            "metadata": {"name": "clips"},
            "spec": {"source": source, "frames": {"count": 16, "maxPixels": 147_456}},
        }
    )


def test_a_clip_has_the_tokens_of_its_frame_plan() -> None:
    folder = dataset(folder={"uri": "file:///videos"})
    assert clip_of(folder, (1024, 1024)).tokens == 8 * 169
    most = clip_of(folder, None)
    assert (most.tokens, most.exact) == (8 * 188, False)
    images = clip_of(folder, (1024, 1024), frames_as_images=3)
    assert (images.tokens, images.marks) == (3 * 169, 6)
    synthetic = clip_of(dataset(synthetic={"widthPixels": 56}), None)
    assert (synthetic.tokens, synthetic.exact, synthetic.patches) == (8 * 4, True, 8 * 16)


@given(count=st.integers(1, 64), gpus_each=st.sampled_from([1, 2, 4, 8]), gpus=st.integers(8, 16))
def test_processes_are_spread_as_the_pods_that_are_made(
    count: int, gpus_each: int, gpus: int
) -> None:
    pool = POOL.model_copy(update={"gpus_per_node": gpus})
    site = Site(workload=None, field="f", name="p", pool=pool, gpus=gpus, usable=1.0)  # type: ignore[arg-type]
    made, planned = spread(site, "f", count, gpus_each), equal_pods("x", count, gpus_each, pool)
    assert (made.pods, made.per_pod) == (planned.count, planned.processes)


def test_a_judge_beside_eight_gpus_takes_a_second_node() -> None:
    pods = (
        equal_pods("learners", 4, 1, POOL),
        equal_pods("rollouts", 4, 1, POOL),
        equal_pods("judges", 1, 1, POOL),
    )
    divided = split(pods, POOL)
    assert (divided.gpus, divided.nodes, divided.idle_gpus, divided.fits) == (9, 2, 7, True)
    assert divided.share(pods[0]) == 0.5 and divided.share(pods[2]) == 1 / 8


def test_too_many_pods_for_the_pool_do_not_fit() -> None:
    assert not split((equal_pods("learners", 40, 1, POOL),), POOL).fits


def test_hosts_hold_models_on_the_way_and_two_versions_in_shared_memory() -> None:
    terms, shm = learner_host(
        4,
        on_gpu=True,
        model_bytes=16 * GIB,
        trained_bytes=16 * GIB,
        exported_bytes=16 * GIB,
        pixel_bytes=GIB,
    )
    # Processes 16, four models read at once 64, pixels 4, shared memory 33.
    assert sum(term.num_bytes for term in terms) == (16 + 64 + 4 + 33) * GIB
    assert shm == 33 * GIB
    terms, shm = engine_host(2, on_gpu=True, exported_bytes=0)
    assert sum(term.num_bytes for term in terms) == 16 * GIB + GIB // 2


def test_flops_and_speeds_by_hand() -> None:
    # 6.53 B weights in the linears of the 7B model: 13.05 GFLOP a token, as published figures say.
    assert forward_flops(SEVEN, 1, 0) / 1e9 == pytest.approx(13.05, abs=0.01)
    speeds = Speeds(tflops=100, mfu=0.5, bandwidth_gb=1000, bandwidth_use=1.0)
    _, decode, rate = rollout_seconds(engine(), 1, 1 / 8, 0, speeds)
    read = 2 * 8_292_166_656 + 2000 * 57_344
    assert rate == pytest.approx(1e12 / read)
    assert decode == pytest.approx(800 / rate)
