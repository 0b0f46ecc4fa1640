"""Models in a store: where one lies, and how it wants to be asked.

Beside a Hugging Face checkpoint stands `assay.json`: the prompt that the model was trained with and
the frame plan of its dataset. Whoever uses the model asks it in the same way.
"""

import tempfile
from pathlib import Path

from pydantic import Field

from assay_api import FramePlan, Model
from assay_api.stage import Prompt
from assay_data.store import FolderStore, Store, open_store
from assay_trainer.models.policy import Policy

RESULT = "model"
"""Folder of the resulting model within a stage's folder."""
_CARD = "assay.json"


class ModelCard(Model):
    """How a model wants to be asked."""

    prompt: Prompt = Field(default=Prompt(), description="The question about each clip.")
    frames: FramePlan = Field(default=FramePlan(), description="Which frames, at which size.")


def publish_model(policy: Policy, card: ModelCard, store: Store, prefix: str) -> str:
    """Publish a whole Hugging Face checkpoint with its card; return its digest."""
    with tempfile.TemporaryDirectory(prefix="assay-model-") as scratch:
        folder = Path(scratch)
        policy.save(folder)
        (folder / _CARD).write_text(card.model_dump_json(by_alias=True, indent=1))
        return store.publish(folder, prefix)


def model_folder(uri: str) -> Path:
    """Return a local folder with the model at `uri`: published by a stage, or anybody's."""
    store = open_store(uri)
    if isinstance(store, FolderStore) and not store.exists("manifest.json"):
        return store.path("")
    return store.fetch("")


def model_card(folder: Path) -> ModelCard:
    """Return the model's card; a model from elsewhere is asked by the defaults."""
    path = folder / _CARD
    return ModelCard.model_validate_json(path.read_text()) if path.is_file() else ModelCard()
