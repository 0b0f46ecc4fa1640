"""From the orders of a stage to its parts, with the model loaded and handed to DeepSpeed."""

import os
import socket
import tempfile
from pathlib import Path

import torch

from assay_api import ResolvedStageJob
from assay_data.dataset import ClipDataset
from assay_data.store import open_store
from assay_trainer.learner.deepspeed_engine import DeepSpeedLearner
from assay_trainer.learner.forward import RowScorer
from assay_trainer.learner.reference import FrozenCopy, WithoutAdapters
from assay_trainer.loops.parts import StageParts
from assay_trainer.models.policy import load_policy
from assay_trainer.models.start import start_folder
from assay_trainer.required_rows import check_rows


def build_parts(job: ResolvedStageJob, *, temperature: float) -> StageParts:
    """Open the dataset, load or make the model, and hand it to the learner.

    Raises:
        InvalidInput: the dataset has no row for the stage, or the model's folder holds no model.
        StoreError: dataset or model are not where the job says.
    """
    spec = job.stage.spec
    torch.manual_seed(spec.seed)
    _single_process_defaults()
    store = open_store(job.output)
    dataset = ClipDataset.open(open_store(job.dataset))
    check_rows(dataset, spec)
    with tempfile.TemporaryDirectory(prefix="assay-model-") as scratch:
        folder = start_folder(
            job.model, spec.model.scratch, spec.prompt.question, dataset, Path(scratch)
        )
        policy = load_policy(
            folder,
            precision=spec.placement.precision,
            lora=spec.lora,
            freeze_vision_tower=spec.freeze_vision_tower,
        )
    loss = spec.rl.loss if spec.rl is not None else None
    scorer = RowScorer(
        policy.model,
        policy.family,
        banned_ids=policy.banned_ids(),
        temperature=temperature,
        entropy_gradient=loss is not None and loss.entropy_bonus > 0,
    )
    reference = None
    if loss is not None and loss.kl is not None:
        reference = WithoutAdapters(scorer) if policy.has_adapters else FrozenCopy(scorer)
    method = spec.sft or spec.rl or spec.fusion
    assert method is not None
    learner = DeepSpeedLearner(
        scorer, method.optimizer, spec.placement, total_steps=spec.num_updates
    )
    return StageParts(job, store, dataset, policy, learner, policy.encoder(), reference)


def _single_process_defaults() -> None:
    """Make this process the only rank, unless a launcher has said otherwise."""
    if "RANK" in os.environ or torch.distributed.is_initialized():
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(
        RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
