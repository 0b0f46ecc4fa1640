"""Models in a store: where one lies, and how it wants to be asked.

Beside a Hugging Face checkpoint stands `assay.json`: the prompt that the model was trained with and
the frame plan of its dataset. Whoever uses the model asks it in the same way.
"""

import json
from pathlib import Path

from pydantic import Field

from assay_api import FramePlan, InvalidInput, Model
from assay_api.stage import Prompt
from assay_data.store import local_copy

RESULT = "model"
"""Folder of the resulting model within a stage's folder."""
CARD = "assay.json"
"""File of the card within a model's folder."""


class ModelCard(Model):
    """How a model wants to be asked."""

    prompt: Prompt = Field(default=Prompt(), description="The question about each clip.")
    frames: FramePlan = Field(default=FramePlan(), description="Which frames, at which size.")


def model_folder(uri: str) -> Path:
    """Return a local folder with the model at `uri`: published by a stage, or anybody's."""
    return local_copy(uri)


def model_card(folder: Path) -> ModelCard:
    """Return the model's card; a model from elsewhere is asked by the defaults."""
    path = folder / CARD
    return ModelCard.model_validate_json(path.read_text()) if path.is_file() else ModelCard()


def check_model_folder(folder: Path) -> None:
    """Raise InvalidInput unless the folder holds a Qwen2.5-VL checkpoint with weights."""
    remedy = "give a folder in the Hugging Face format of Qwen2.5-VL-7B-Instruct"
    if not (folder / "config.json").is_file():
        raise InvalidInput(f"model {folder}: no config.json there; {remedy}")
    if not any(folder.glob("*.safetensors")):
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise InvalidInput(
            f"model {folder}: no weights (*.safetensors) there, found {found}; {remedy}"
        )
    architecture = _model_type(folder / "config.json")
    if architecture != "qwen2_5_vl":
        raise InvalidInput(
            f"model {folder}: config.json has model_type {architecture!r}, allowed is "
            f"'qwen2_5_vl'; {remedy}"
        )


def _model_type(config: Path) -> object:
    try:
        content = json.loads(config.read_text())
    except ValueError as error:
        raise InvalidInput(f"{config}: not JSON ({error}); download the model again") from error
    return content.get("model_type") if isinstance(content, dict) else None
