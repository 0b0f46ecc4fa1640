"""Which model families there are, and of which one a model is. Loads no engine."""

import json
from pathlib import Path
from typing import Any

from assay_api import InvalidInput

FAMILIES = {
    "qwen2_5_vl": "qwen2_5_vl",
    "qwen2": "text",
    "qwen3": "text",
    "llama": "text",
}
"""Module of the family in this package, by `model_type` of a model's `config.json`."""


def model_type(folder: Path) -> str:
    """Return the `model_type` of the model in a folder, which tells its family.

    Raises:
        InvalidInput: it is of no family that there is.
    """
    found = model_config(folder).get("model_type")
    if found not in FAMILIES:
        raise InvalidInput(
            f"model {folder}: config.json has model_type {found!r}, allowed are "
            f"{', '.join(map(repr, FAMILIES))}; give the folder of such a model, in the "
            "Hugging Face format"
        )
    return str(found)


def model_config(folder: Path) -> dict[str, Any]:
    """Return the configuration in a model's folder; without fields where it is no JSON object.

    Raises:
        InvalidInput: it is not JSON.
    """
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise InvalidInput(f"{path}: not JSON ({error}); download the model again") from error
    return content if isinstance(content, dict) else {}
