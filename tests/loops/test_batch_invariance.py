"""vLLM's batch-invariant mode is asked for where it acts, and refused elsewhere."""

import os
from pathlib import Path

import pytest
import ray
import torch

from assay_api import InvalidInput, ResolvedStageJob
from assay_trainer.loops import engines
from assay_trainer.rollout.batch_invariance import sample_batch_invariantly
from assay_trainer.rollout.engine_actor import PoolConfig, RolloutEngine
from assay_trainer.rollout.engine_config import EngineConfig


@pytest.fixture
def play_gpu(monkeypatch):
    """Play a GPU of this compute capability; None: there is none."""
    monkeypatch.delenv("VLLM_BATCH_INVARIANT", raising=False)

    def play(capability: tuple[int, int] | None) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: int(capability is not None))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a played GPU")

    yield play
    os.environ.pop("VLLM_BATCH_INVARIANT", None)


@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (9, 0), (10, 0)])
def test_the_engine_is_told_before_vllm_is_imported(play_gpu, capability) -> None:
    play_gpu(capability)

    sample_batch_invariantly()

    assert os.environ["VLLM_BATCH_INVARIANT"] == "1"


@pytest.mark.parametrize(
    ("capability", "message"),
    [
        ((7, 5), r"no batch-invariant kernels for a played GPU \(compute capability 7.5\)"),
        (None, "spec.rl.batchInvariant: true changes nothing on a CPU"),
    ],
)
def test_where_it_cannot_act_it_is_refused(play_gpu, capability, message: str) -> None:
    play_gpu(capability)

    with pytest.raises(InvalidInput, match=message):
        sample_batch_invariantly()
    assert "VLLM_BATCH_INVARIANT" not in os.environ


def test_an_engine_asks_for_it_only_where_the_stage_does(play_gpu, monkeypatch) -> None:
    """An engine that goes on from there would load vLLM, and the model."""
    play_gpu((7, 0))
    config = EngineConfig("BFloat16", 256, 8, batch_invariant=True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    engine = RolloutEngine(PoolConfig(config, "no-model", "no-dataset", 1, 1, 1))

    with pytest.raises(InvalidInput, match="no batch-invariant kernels"):
        engine.ready()


@pytest.mark.parametrize(("num_gpus", "refused"), [(0, True), (8, False)])
def test_a_stage_is_refused_before_any_engine_starts(
    monkeypatch, num_gpus: int, refused: bool
) -> None:
    monkeypatch.setattr(engines, "model_description", lambda uri: Path("model"))
    monkeypatch.setattr(engines, "clip_shapes", lambda store: [])
    monkeypatch.setattr(engines, "longest_prompt_tokens", lambda *of: 100)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": num_gpus})
    rl = {"steps": 1, "batchInvariant": True}
    spec = {"model": {"uri": "m"}, "dataset": "d", "rl": rl, "rewards": [{"type": "Accuracy"}]}
    job = ResolvedStageJob.model_validate(
        {
            "stage": {"metadata": {"name": "s"}, "spec": spec},
            "attempt": 1,
            "model": {"uri": "m"},
            "dataset": "d",
            "output": "o",
        }
    )

    if refused:
        with pytest.raises(InvalidInput, match="no GPU was found for the rollout engines"):
            engines.pool_config(job, max_completion_tokens=8, lora=None)
    else:
        config = engines.pool_config(job, max_completion_tokens=8, lora=None)
        assert config.engine.batch_invariant
