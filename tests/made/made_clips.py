"""Rows of clips made by hand."""

from assay_data.dataset import ClipRow


def clip_row(name: str, **changes: object) -> ClipRow:
    """A row of a clip of two frames of 56x28 pixels."""
    values: dict[str, object] = {
        "row_id": f"{name}-0",
        "video_id": name,
        "label": "real",
        "generator": "real",
        "split": "Train",
        "source": f"real/{name}.mp4",
        "source_sha256": "0" * 64,
        "start_seconds": 0.0,
        "end_seconds": 5.0,
        "sampled_fps": 4.0,
        "timestamps_seconds": (0.0, 0.25),
        "width": 56,
        "height": 28,
        "examples": (),
    }
    return ClipRow(**(values | changes))  # type: ignore[arg-type]
