"""Models in a store or on the Hub: where one lies, and how it wants to be asked.

Beside a Hugging Face checkpoint stands `assay.json`: the prompt that the model was trained with and
the frame plan of its dataset. Whoever uses the model asks it in the same way.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from assay_api import FramePlan, InvalidInput, Model, ResolvedModel
from assay_api.answers import Answer
from assay_api.hub import is_hub
from assay_api.prompt import BUSTERX_PROMPT, Prompt
from assay_data.store import Wanted, local_copy, open_store
from assay_data.store.trees import describe, tree_digest
from assay_trainer.families.registry import model_type
from assay_trainer.models.pinning import hub_model

RESULT = "model"
"""Folder of the resulting model within a stage's folder."""
CARD = "assay.json"
"""File of the card within a model's folder."""
ADAPTER = "adapter"
"""Folder, within a model's folder, of the adapters that are merged into it, in peft's format."""
BASE = "base.json"
"""File, within the adapters' folder, that tells which model they adapt."""
WEIGHTS = ".safetensors"
"""Extension of weights; pickles are never loaded."""
_DESCRIPTION = (".json", ".txt", ".jinja", ".model")
"""Extensions of configurations and tokenizers."""
_REMEDY = "give a folder in the Hugging Face format, such as that of Qwen2.5-VL-7B-Instruct"


class ModelCard(Model):
    """How a model wants to be asked."""

    prompt: Prompt = Field(default=BUSTERX_PROMPT, description="The question about each clip.")
    answer: Answer = Field(default=Answer(), description="How it writes its answers.")
    frames: FramePlan = Field(default=FramePlan(), description="Which frames, at which size.")


class AdapterBase(Model):
    """The model that adapters were trained on; on another one they mean something else."""

    uri: str = Field(description="Where it was, as the stage's orders named it.")
    digest: str = Field(description="SHA-256 recorded when it was made, or over its files.")


def adapter_base(model: ResolvedModel) -> AdapterBase:
    """Return what adapters of a stage that starts from a model say of it."""
    return AdapterBase(uri=model.uri, digest=model.digest or files_digest(model_folder(model.uri)))


def files_digest(folder: Path) -> str:
    """Return the SHA-256 over names, sizes and SHA-256 of a model's files."""
    files = sorted(path for path in folder.iterdir() if is_model_file(path.name))
    return tree_digest({path.name: describe(path) for path in files})


def model_folder(uri: str) -> Path:
    """Return a local folder with the model at `uri`: published by a stage, or anybody's.

    Only files of a checkpoint in safetensors are fetched: no pickles, code, or other formats.

    Raises:
        InvalidInput: it is no place for files.
        StoreError: there is nothing, or it cannot be read.
    """
    return _local(uri, "model", is_model_file)


def model_description(uri: str) -> Path:
    """Return a local folder with the model's configuration and tokenizer; weights aren't fetched.

    Raises:
        InvalidInput: it is no place for files, or holds no checkpoint with weights of a family
            that there is.
        StoreError: there is nothing, or it cannot be read.
    """
    folder = _local(uri, "description", _describes)
    _check_description(folder)
    _check_weights(uri, [name for name in _names(uri) if "/" not in name])
    return folder


def _describes(name: str) -> bool:
    return is_model_file(name) and not name.endswith(WEIGHTS)


def _local(uri: str, part: str, wanted: Wanted) -> Path:
    """Return a local folder with a part of a model, wherever it is."""
    if not is_hub(uri):
        return local_copy(uri, wanted)
    # Not for other models: its library takes a while to load.
    from assay_trainer.models.hub import hub_folder

    return hub_folder(hub_model(uri), part, wanted)


def _names(uri: str) -> list[str]:
    if not is_hub(uri):
        return open_store(uri).list()
    from assay_trainer.models.hub import hub_names

    return hub_names(hub_model(uri))


def is_model_file(name: str) -> bool:
    """Tell whether a file beside others is part of a checkpoint that can be loaded.

    Folders hold other things: adapters, another library's weights, an original format.

    Example:
        >>> is_model_file("model-00001-of-00005.safetensors"), is_model_file("merges.txt")
        (True, True)
        >>> is_model_file("pytorch_model.bin"), is_model_file("onnx/config.json")
        (False, False)
    """
    return "/" not in name and name.endswith((WEIGHTS, *_DESCRIPTION))


def model_card(folder: Path) -> ModelCard:
    """Return the model's card; a model from elsewhere is asked by the defaults."""
    path = folder / CARD
    return ModelCard.model_validate_json(path.read_text()) if path.is_file() else ModelCard()


def check_model_folder(folder: Path) -> None:
    """Raise InvalidInput unless the folder holds a checkpoint of a family that there is."""
    _check_description(folder)
    _check_weights(str(folder), [path.name for path in folder.iterdir()])


def _check_description(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise InvalidInput(f"model {folder}: no config.json there; {_REMEDY}")
    model_type(folder)


def _check_weights(place: str, names: Sequence[str]) -> None:
    if not any(name.endswith(WEIGHTS) for name in names):
        found = ", ".join(sorted(names)) or "nothing"
        raise InvalidInput(
            f"model {place}: no weights (*{WEIGHTS}) there, found {found}; {_REMEDY}"
        )
