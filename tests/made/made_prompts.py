"""Prompts about rows of a dataset, without the dataset."""

from typing import Any

from assay_api import ThinkingMode
from assay_data.dataset import ClipRow
from assay_trainer.records import PromptItem


def made_row(row_id: str = "v1", label: str = "fake", **fields: Any) -> ClipRow:
    """Return the row of a clip of one frame, or of whatever the fields say."""
    given = {
        "row_id": row_id,
        "video_id": row_id,
        "label": label,
        "generator": "real" if label == "real" else "sora",
        "split": "Train",
        "source": f"{row_id}.mp4",
        "source_sha256": "0" * 64,
        "start_seconds": 0.0,
        "end_seconds": 1.0,
        "sampled_fps": 1.0,
        "timestamps_seconds": (0.0,),
        "width": 28,
        "height": 28,
        "examples": (),
    }
    return ClipRow(**given | fields)


def asked(
    row_id: str,
    label: str,
    mode: ThinkingMode = ThinkingMode.THINK,
    text: str = "",
    question: str = "",
) -> PromptItem:
    """Return a question about the clip of such a row."""
    return PromptItem(made_row(row_id, label), mode, text, question)
