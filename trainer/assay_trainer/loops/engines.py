"""Rollout engines for a stage, sized from its dataset and prompt."""

import os
from functools import partial
from pathlib import Path

import ray
from transformers import AutoConfig

from assay_api import ResolvedStageJob, ThinkingMode
from assay_api.prompt import PromptSource
from assay_api.stage import Lora
from assay_data.dataset import ClipDataset, clip_shapes
from assay_data.dataset.usable import makes_tokens, usable_rows
from assay_data.store import open_store
from assay_trainer.families.family import family_of
from assay_trainer.loops.ray_cluster import group_resource
from assay_trainer.models.published import model_description
from assay_trainer.process import ProcessName
from assay_trainer.prompts.lengths import measure_prompts, room_for_prompts
from assay_trainer.prompts.row_prompts import RowPrompts
from assay_trainer.rollout.batch_invariance import check_gpus_for_batch_invariance
from assay_trainer.rollout.engine_actor import PoolConfig
from assay_trainer.rollout.engine_config import EngineConfig
from assay_trainer.rollout.engine_owner import LocalEngineOwner
from assay_trainer.rollout.pool import RolloutPool
from assay_trainer.rollout.prompt_length import longest_prompt_tokens


def start_pool(
    job: ResolvedStageJob, *, max_completion_tokens: int, lora: Lora | None
) -> RolloutPool:
    """Start the stage's rollout engines, on the model that it starts from, for this process.

    Raises:
        InvalidInput: the model's folder holds no model.
    """
    config = pool_config(job, max_completion_tokens=max_completion_tokens, lora=lora)
    return RolloutPool(config, LocalEngineOwner(config))


def pool_config(
    job: ResolvedStageJob, *, max_completion_tokens: int, lora: Lora | None
) -> PoolConfig:
    """Return what the stage's rollout engines need, as far as this Ray cluster has it.

    Raises:
        InvalidInput: the model's folder holds no model, or the stage asks for what GPUs have.
    """
    assert job.model is not None
    # Of model and dataset only what tells their sizes: the engines fetch the rest.
    folder = model_description(job.model.uri)
    spec = job.stage.spec
    num_gpus = ray.cluster_resources().get("GPU", 0)
    batch_invariant = spec.rl is not None and spec.rl.batch_invariant
    if batch_invariant:
        check_gpus_for_batch_invariance(num_gpus)
    prompt_tokens, max_pictures = _longest_prompt(job, folder, max_completion_tokens)
    engine = EngineConfig(
        precision=spec.placement.precision,
        max_model_length_tokens=prompt_tokens + max_completion_tokens,
        lora=lora,
        max_pictures=max_pictures,
        batch_invariant=batch_invariant,
    )
    num_engines = spec.placement.rollouts
    return PoolConfig(
        engine=engine,
        model=job.model.uri,
        dataset=job.dataset,
        num_engines=num_engines,
        threads_per_engine=max(1, (os.cpu_count() or 1) // num_engines),
        num_gpus_per_engine=spec.placement.gpus_per_rollout if num_gpus else 0,
        resource=group_resource("rollout"),
        process=ProcessName("stage", job.stage.metadata.name, "rollout", job.attempt),
    )


def _longest_prompt(
    job: ResolvedStageJob, folder: Path, max_completion_tokens: int
) -> tuple[int, int]:
    """Return the tokens of the longest prompt, and the most pictures of one."""
    spec = job.stage.spec
    store = open_store(job.dataset)
    if spec.prompt.source is PromptSource.QUESTION:
        shapes = [shape for shape in clip_shapes(store) if makes_tokens(*shape)]
        return longest_prompt_tokens(folder / "tokenizer.json", spec.prompt, shapes), 0
    family = family_of(folder)
    tokenizer = family.tokenizer(family.processor(folder))
    prompts = RowPrompts(spec.prompt, partial(family.render, tokenizer=tokenizer))
    rows = ClipDataset.open(store).rows()
    rows = usable_rows(rows, needs_label=False, source=spec.prompt.source)
    measured = measure_prompts(prompts, rows, tuple(ThinkingMode), tokenizer)
    room = room_for_prompts(spec.prompt, AutoConfig.from_pretrained(folder), max_completion_tokens)
    fitting = measured.within(room, "Train and Test")
    return fitting.longest, max(len(row.timestamps_seconds) for row in fitting.rows)
