"""The trained model, published as the result of its stage."""

import logging
import tempfile
from pathlib import Path

from assay_api import FramePlan
from assay_trainer.loops.parts import StageParts
from assay_trainer.models.export import write_adapter, write_model
from assay_trainer.models.published import ADAPTER, RESULT, ModelCard, adapter_base

_LOG = logging.getLogger(__name__)


def publish_model(parts: StageParts) -> None:
    """Publish the trained model as the stage's result, adapters merged and beside it."""
    frames = FramePlan.model_validate(parts.dataset.info["spec"]["frames"])
    spec = parts.stage.spec
    card = ModelCard(prompt=spec.prompt, answer=spec.answer, frames=frames)
    with tempfile.TemporaryDirectory(prefix="assay-model-") as scratch:
        folder = Path(scratch)
        write_model(parts.policy, card, folder)
        if parts.policy.has_adapters:
            assert parts.job.model is not None, "adapters have a model that they adapt"
            write_adapter(parts.policy, adapter_base(parts.job.model), folder / ADAPTER)
        parts.store.publish(folder, RESULT)
    _LOG.info("model published at %s/%s", parts.store.url, RESULT)
