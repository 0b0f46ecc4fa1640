"""Annotated rows made by hand, and datasets made of them."""

import json
from pathlib import Path
from typing import Any

from assay_api import Dataset
from assay_data.dataset import ClipDataset
from assay_data.ingest import IngestReport, build_dataset
from assay_data.store import FolderStore

ASKED = "is this multimodal content manipulated?"
URL = "https://www.youtube.com/watch?v="
TRAIN = {"rule": "Train"}


def ingest(source: Path, out: Path, **spec: Any) -> IngestReport:
    rows = {"uri": str(source), **spec.pop("rows", {})}
    frames = {"count": 4, "fps": 4.0} | spec.pop("frames", {})
    body = {"source": {"rows": rows}, "frames": frames, **spec}
    dataset = Dataset.model_validate({"metadata": {"name": "rows"}, "spec": body})
    return build_dataset(dataset, FolderStore(out), 1, lambda done, total: None)


def opened(out: Path) -> ClipDataset:
    return ClipDataset.open(FolderStore(out))


def reasons(report: IngestReport) -> list[tuple[str, str]]:
    return [(drop.source, drop.reason.value) for drop in report.drops]


def write_lines(path: Path, records: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def news(video: str, answer: str, title: str = "A dog") -> dict[str, Any]:
    problem = "<image>" * 8 + f"\nQuestion:\nThe news title is '{title}', {ASKED}"
    return {"image": [URL + video], "problem": problem, "solution": answer, "task": "fakevv"}
