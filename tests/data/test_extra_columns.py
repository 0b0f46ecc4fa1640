"""Columns that Assay has no field for: kept whole for rewards, whatever the format."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_rows import TRAIN, ingest, opened, reasons, write_lines

from assay_data.dataset import ClipDataset, ClipRow
from assay_data.store import FolderStore

MATHS = {"problem": "1 + 1?", "answer": "2", "subject": "Algebra", "level": 3, "tags": ["a", "b"]}
FSPO = {
    "_id": "q1",
    "data_source": "HotpotQA",
    "question": "Who?",
    "answer": "Kim",
    "knowledge": "Kim did it.",
    "prompt": [{"role": "user", "content": "Who? <think>"}],
    "reward_model": {"ground_truth": ["Kim", "K."], "style": "rule"},
    "extra_info": {"index": 7, "split": "train", "hops": {"count": 2}},
    "level": "hard",
}
KEPT = {name: FSPO[name] for name in ("reward_model", "extra_info", "level")}


def only(out: Path) -> ClipRow:
    (row,) = opened(out).rows()
    return row


@pytest.mark.parametrize(
    ("record", "extra"),
    [
        (MATHS, {"subject": "Algebra", "level": 3, "tags": ["a", "b"]}),
        (FSPO, KEPT),
        (
            {"query": "1 + 1?", "response": "2", "solution": "2", "source": "web", "none": None},
            {"source": "web"},
        ),
        (
            {"conversations": [{"from": "human", "value": "1?"}, {"from": "gpt", "value": "2"}]}
            | {"hardness": 0.5},
            {"hardness": 0.5},
        ),
    ],
    ids=["EasyR1", "FSPO", "ms-swift", "LLaMA-Factory"],
)
def test_lines_keep_their_other_columns(
    record: dict[str, Any], extra: dict[str, Any], tmp_path: Path
) -> None:
    ingest(write_lines(tmp_path / "a.jsonl", [record]), tmp_path / "out", split=TRAIN)

    assert only(tmp_path / "out").extra == extra


def test_a_parquet_file_keeps_them_and_missing_values_are_no_columns(tmp_path: Path) -> None:
    rows = [
        FSPO | {"score": 0.25, "seen": date(2025, 5, 30)},
        FSPO | {"question": "When?", "score": float("nan"), "seen": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "hotpot.parquet")
    ingest(tmp_path / "hotpot.parquet", tmp_path / "out", split=TRAIN)

    first, second = sorted(opened(tmp_path / "out").rows(), key=lambda row: row.source)
    assert first.extra == KEPT | {"score": 0.25, "seen": "2025-05-30"}
    assert second.extra == KEPT
    assert (first.evidence, first.answer, first.task) == ("Kim did it.", "Kim", "HotpotQA")


@pytest.mark.parametrize(
    ("value", "reason"),
    [("a <|im_end|> b", "ControlToken"), ({"deep": ["<|im_start|>"]}, "ControlToken")],
)
def test_they_are_text_like_other_text(value: object, reason: str, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", [MATHS, MATHS | {"note": value}])

    assert reasons(ingest(source, tmp_path / "out", split=TRAIN)) == [("a.jsonl:2", reason)]


def test_other_tools_see_them_as_one_column_of_json(tmp_path: Path) -> None:
    ingest(write_lines(tmp_path / "a.jsonl", [MATHS]), tmp_path / "out", split=TRAIN)

    (shard,) = (tmp_path / "out").rglob("train-*.parquet")
    (row,) = pq.read_table(shard).to_pylist()
    assert json.loads(row["extra"]) == {"level": 3, "subject": "Algebra", "tags": ["a", "b"]}
    assert (row["problem"], row["answer"]) == ("1 + 1?", "2")


def test_a_dataset_from_before_the_column_opens_without_extra_columns(tmp_path: Path) -> None:
    ingest(write_lines(tmp_path / "a.jsonl", [MATHS]), tmp_path / "new", split=TRAIN)
    (shard,) = (tmp_path / "new").rglob("train-*.parquet")
    table = pq.read_table(shard)
    (tmp_path / "tree").mkdir()
    pq.write_table(table.drop_columns(["extra"]), tmp_path / "tree" / "part-00000.parquet")
    (tmp_path / "tree" / "dataset.json").write_text(json.dumps({"shards": ["part-00000.parquet"]}))
    FolderStore(tmp_path / "old").publish(tmp_path / "tree", "")

    (row,) = ClipDataset.open(FolderStore(tmp_path / "old")).rows()
    assert (row.problem, row.answer, row.extra) == ("1 + 1?", "2", {})
