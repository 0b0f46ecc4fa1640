"""The columns of a shard: our own, and beside them those that other tools read.

| column | read by |
|---|---|
| `problem`, `answer`, `images` | EasyR1 |
| `data_source`, `prompt`, `images`, `ability`, `reward_model`, `extra_info` | verl |
| `images` as pictures | `datasets`, by the features in the schema's metadata |
"""

import json
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from assay_data.dataset.rows import ClipRow, Turn
from assay_data.lessons import Example

_EXAMPLE = pa.struct([("task", pa.string()), ("prompt", pa.string()), ("response", pa.string())])
_TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

_OWN = [
    ("row_id", pa.string()),
    ("video_id", pa.string()),
    ("label", pa.string()),
    ("generator", pa.string()),
    ("split", pa.string()),
    ("source", pa.string()),
    ("source_sha256", pa.string()),
    ("start_seconds", pa.float64()),
    ("end_seconds", pa.float64()),
    ("sampled_fps", pa.float64()),
    ("timestamps_seconds", pa.list_(pa.float64())),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("examples", pa.list_(_EXAMPLE)),
    ("task", pa.string()),
    ("problem", pa.string()),
    ("prompt", pa.list_(_TURN)),
    ("answer", pa.string()),
    ("ability", pa.string()),
    ("entity", pa.string()),
    ("title", pa.string()),
    ("transcript", pa.string()),
    ("language", pa.string()),
    ("evidence", pa.string()),
    ("response", pa.string()),
    ("chosen", pa.string()),
    ("rejected", pa.string()),
    ("media", pa.list_(pa.string())),
    ("extra", pa.string()),
]
_EXTRA = ("row_id", "video_id", "task", "label", "generator", "entity", "title", "transcript")
_FOR_OTHERS = [
    ("images", pa.list_(IMAGE)),
    ("data_source", pa.string()),
    ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
    (
        "extra_info",
        pa.struct(
            [("split", pa.string()), ("index", pa.int64()), *((n, pa.string()) for n in _EXTRA)]
        ),
    ),
]
OWN_COLUMNS = [name for name, _ in _OWN]
LATER_COLUMNS = frozenset({"extra"})
"""Columns that older datasets lack: `extra`, a JSON mapping, is empty there."""
# Only what Arrow's types do not tell: `datasets` works out the other columns by itself. Before its
# version 4 it knows no List; later it reads a Sequence as one.
_FEATURES = {"info": {"features": {"images": {"feature": {"_type": "Image"}, "_type": "Sequence"}}}}
SCHEMA = pa.schema([*_OWN, *_FOR_OTHERS], {"huggingface": json.dumps(_FEATURES)})


def to_values(row: ClipRow, images: tuple[bytes, ...], index: int) -> dict[str, Any]:
    """Return the values of all columns.

    Args:
        row: the row.
        images: picture files, the row's frames in order.
        index: the row's place in the dataset.
    """
    own = asdict(row)
    extra = {name: own[name] for name in _EXTRA}
    return own | {
        "extra": json.dumps(dict(row.extra), sort_keys=True, ensure_ascii=False, allow_nan=False),
        "images": [{"bytes": image, "path": None} for image in images],
        "data_source": row.task,
        "reward_model": {"style": "rule", "ground_truth": row.answer},
        "extra_info": {"split": row.split.lower(), "index": index, **extra},
    }


def to_row(values: dict[str, Any]) -> ClipRow:
    """Build a row out of the values of our own columns."""
    return ClipRow(
        **{name: values[name] for name in OWN_COLUMNS if name not in LATER_COLUMNS}
        | {
            "extra": json.loads(values.get("extra") or "{}"),
            "timestamps_seconds": tuple(values["timestamps_seconds"]),
            "examples": tuple(Example(**example) for example in values["examples"]),
            "prompt": tuple(Turn(**turn) for turn in values["prompt"]),
            "media": tuple(values["media"]),
        }
    )
