"""The dataset card, `README.md`: which files are which split, for tools, and words for people.

`datasets`, and the Hub's viewer, read the YAML at its head. Without it they would guess which files
are data, and take `dataset.json` and `manifest.json` for rows.
"""

import re

import yaml

from assay_api import Split
from assay_api.dataset import DatasetSpec
from assay_data.dataset.overview import Dropped, Kind, Overview

CARD = "README.md"

_READING = """\
## Loading

```python
from datasets import load_dataset

rows = load_dataset("FOLDER")  # this file's folder; a split each, pictures decoded
```

- EasyR1: `data.train_files=FOLDER/data@train`, `data.val_files=FOLDER/data@test`,
  `data.prompt_key=problem`.
- verl: `data.train_files` is the list of `FOLDER/data/train-*.parquet`, `data.val_files` that of
  `FOLDER/data/test-*.parquet`.
- `assay data show FOLDER` shows rows and frames; `--verify` compares every file with its SHA-256.
"""


def dataset_card(spec: DatasetSpec, found: Overview) -> str:
    """Return the card of a dataset. It has no name: the same rows have the same card.

    Args:
        spec: what the dataset was made of.
        found: what it became.
    """
    words = [
        f"# {found.num_rows} rows of {found.num_videos} videos or questions",
        "Made by Assay and never changed afterwards: "
        "`dataset.json` holds the whole spec and all counts, `manifest.json` the SHA-256 of every "
        "file. The positive class is *fake*.",
        _rows(found.kinds),
        _source(spec),
        _dropped(found.drops),
        _READING,
    ]
    return "\n\n".join([_head(found), *words])


def _head(found: Overview) -> str:
    present = {kind.split for kind in found.kinds}
    files = [
        {"split": split.lower(), "path": f"data/{split.lower()}-*.parquet"}
        for split in Split
        if split.value in present
    ]
    head = {"configs": [{"config_name": "default", "data_files": files}]}
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---"


def _rows(kinds: tuple[Kind, ...]) -> str:
    lines = ["| split | class | generator | rows | videos | seconds |", "|---|---|---|--:|--:|--:|"]
    order = [split.value for split in Split]
    for kind in sorted(kinds, key=lambda kind: order.index(kind.split)):
        names = f"{kind.split.lower()} | {_cell(kind.label)} | {_cell(kind.generator)}"
        lines.append(f"| {names} | {kind.num_rows} | {kind.num_videos} | {kind.seconds:g} |")
    for split in Split:
        if not any(kind.split == split for kind in kinds):
            lines.append(f"\nThe split {split.lower()} is empty and has no file.")
    return "## Rows\n\n" + "\n".join(lines)


def _source(spec: DatasetSpec) -> str:
    source, frames = spec.source, spec.frames
    if source.folder is not None:
        origin = f"Videos in folders: {_code(source.folder.uri)}."
    elif source.rows is not None:
        media = ", ".join(map(_code, source.rows.media)) or "none"
        origin = (
            f"Annotated rows in the format {source.rows.format.value}: {_code(source.rows.uri)}; "
            f"media from: {media}."
        )
    else:
        assert source.synthetic is not None
        origin = f"{source.synthetic.num_videos} synthetic videos, seed {source.synthetic.seed}."
    how = "evenly spaced" if frames.sampling == "Whole" else f"1/{frames.fps:g} s apart"
    return (
        f"## Source\n\n{origin}\n\nUp to {frames.count} frames of a clip, {how}, of "
        f"{frames.min_pixels} to {frames.max_pixels} pixels, as {frames.codec}. Split by the rule "
        f"{spec.split.rule.value}; all rows of one video are in the same split."
    )


def _dropped(drops: tuple[Dropped, ...]) -> str:
    if not drops:
        return "## Dropped\n\nNothing."
    lines = ["| reason | files or rows | the first |", "|---|--:|---|"]
    for dropped in drops:
        first = dropped.examples[0]
        example = f"{_code(first.source)}: {_cell(first.detail)}"
        lines.append(f"| {dropped.reason} | {dropped.num_files} | {example} |")
    return "## Dropped\n\n" + "\n".join(lines) + "\n\nAll of them: `drops.json`."


def _code(text: str) -> str:
    """Return a text from outside as code in a table, where it can end neither code nor cell."""
    return f"`{_line(text).replace('`', ' ').replace('|', chr(92) + '|')}`"


def _cell(text: str) -> str:
    """Return a text from outside as words in a table; it starts no markup of its own."""
    return re.sub(r"([|<\[`*_])", r"\\\1", _line(text))


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("\\", "/")
