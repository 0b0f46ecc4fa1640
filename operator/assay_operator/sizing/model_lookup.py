"""Which sizes a manifest's model has: by name, by config.json, or by the stage it comes from."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assay_api import InvalidInput
from assay_api.base import ModelRef, ModelSource, ScratchModel
from assay_api.hub import without_revision
from assay_operator.sizing.shape import FINETUNES, KNOWN, ModelShape, VisionShape


class ModelSizes:
    """Finds the sizes of models; `fromStage` is followed to where the first stage began."""

    def __init__(self, stages: Mapping[str, ModelSource], config: ModelShape | None = None) -> None:
        """Take the model of each stage by the stage's name.

        Args:
            stages: where each stage's model comes from.
            config: sizes for what no other rule knows (`--model-config`).
        """
        self._stages, self._config = stages, config

    def of(self, source: ModelSource | ModelRef, owner: str) -> ModelShape:
        """Return the sizes of a model.

        Args:
            source: the model of a stage, an evaluation or a reward model.
            owner: whose, as `Kind/name`, for messages.

        Raises:
            InvalidInput: nothing says what its sizes are.
        """
        if isinstance(source, ModelSource) and source.scratch is not None:
            return scratch_shape(source.scratch)
        if source.from_stage is not None:
            found = self._stages.get(source.from_stage)
            if found is not None:
                return self.of(found, f"TrainingStage/{source.from_stage}")
        return self._by_uri(source, owner)

    def _by_uri(self, source: ModelSource | ModelRef, owner: str) -> ModelShape:
        uri = source.uri
        if uri is not None:
            found = shape_by_name(uri) or _shape_in_folder(uri)
            if found is not None:
                return found
        if self._config is not None:
            return self._config
        field = f"spec.model.uri: {uri}" if uri else f"spec.model.fromStage: {source.from_stage}"
        raise InvalidInput(
            f"{owner}: {field}: its sizes are not known (known are {', '.join(KNOWN)}, what has "
            "one of these in its name, and folders on this machine with a config.json); add "
            "--model-config FILE with the model's config.json"
        )


def shape_by_name(uri: str) -> ModelShape | None:
    """Return the sizes that the last part of a path or URL names, if it names any.

    Example:
        >>> shape_by_name("s3://models/qwen2.5-vl-7b-instruct-genbuster/").name
        'Qwen2.5-VL-7B'
        >>> shape_by_name("hf://Qwen/Qwen2.5-VL-3B-Instruct@refs/pr/1").name
        'Qwen2.5-VL-3B'
    """
    last = without_revision(uri).rstrip("/").rpartition("/")[2].lower()
    for name, shape in KNOWN.items():
        if re.search(rf"(?<![a-z0-9]){re.escape(name.lower())}(?![a-z0-9])", last):
            return shape
    return KNOWN[FINETUNES[last]] if last in FINETUNES else None


def scratch_shape(spec: ScratchModel) -> ModelShape:
    """Return the sizes of a model made on the spot.

    Source: `assay_trainer.models.scratch`, which a test compares. Its vocabulary may turn out
    smaller when the dataset has little text.
    """
    return ModelShape(
        name="scratch",
        hidden=spec.hidden_size,
        layers=spec.num_layers,
        heads=spec.num_heads,
        kv_heads=spec.num_kv_heads,
        intermediate=3 * spec.hidden_size,
        vocabulary=spec.vocabulary_size,
        tied=False,
        vision=VisionShape(
            hidden=spec.vision_hidden_size,
            depth=spec.vision_depth,
            intermediate=2 * spec.vision_hidden_size,
            heads=4,
        ),
    )


def read_shape(path: Path) -> ModelShape:
    """Return the sizes in a config.json of Qwen2.5-VL, flat as published or nested as saved.

    Raises:
        InvalidInput: it can't be read, is of another architecture, or lacks a size.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: can't be read as a model's config.json: {error}") from None
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind != "qwen2_5_vl":
        raise InvalidInput(f"{path}: field model_type: got {kind!r}, allowed is 'qwen2_5_vl'")
    text = content.get("text_config") or content
    vision = content.get("vision_config") or {}
    return ModelShape(
        name=path.parent.name or str(path),
        hidden=_size(path, text, ("hidden_size",)),
        layers=_size(path, text, ("num_hidden_layers",)),
        heads=_size(path, text, ("num_attention_heads",)),
        kv_heads=_size(path, text, ("num_key_value_heads", "num_attention_heads")),
        intermediate=_size(path, text, ("intermediate_size",)),
        vocabulary=_size(path, text, ("vocab_size",)),
        tied=bool(content.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        vision=VisionShape(
            hidden=_size(path, vision, ("hidden_size",), "vision_config."),
            depth=_size(path, vision, ("depth",), "vision_config."),
            intermediate=_size(path, vision, ("intermediate_size",), "vision_config."),
            heads=_size(path, vision, ("num_heads",), "vision_config."),
        ),
    )


def _shape_in_folder(uri: str) -> ModelShape | None:
    path = Path(uri.removeprefix("file://")) / "config.json"
    return read_shape(path) if "://" not in str(path) and path.is_file() else None


def _size(path: Path, config: Mapping[str, Any], names: Sequence[str], prefix: str = "") -> int:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    value = config.get(names[0])
    raise InvalidInput(f"{path}: field {prefix}{names[0]}: got {value!r}, must be an integer >= 1")
