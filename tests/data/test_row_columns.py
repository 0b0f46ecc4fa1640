"""Media in the columns and messages of rows, however other tools write them: taken, or refused."""

import base64
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_rows import TRAIN, ingest, opened, reasons, write_lines

from assay_api.dataset import RowsFormat
from assay_data.drops import Drop, DropReason
from assay_data.sources.registry import detect, read_record
from assay_data.sources.row import Medium, SourceRow

ASKED = "Is this video real or fake? Options: A) real B) fake"
FRAMES = [f"f{number}.png" for number in range(8)]
VIDEO, IMAGE = (Medium("a.mp4"),), (Medium("i.png"),)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(90))


def read(record: dict[str, Any]) -> SourceRow | Drop:
    found = detect([record])
    assert found is not None
    return read_record(found, record, "rows.json:1")


def drop_of(record: dict[str, Any]) -> Drop:
    found = read(record)
    assert isinstance(found, Drop), found
    return found


def chat(content: object, **columns: object) -> dict[str, Any]:
    answer = {"role": "assistant", "content": "<answer>B</answer>"}
    return {"messages": [{"role": "user", "content": content}, answer], **columns}


def llava(text: str, **columns: object) -> dict[str, Any]:
    answer = {"from": "gpt", "value": "<answer>B</answer>"}
    return {"conversations": [{"from": "human", "value": text}, answer], **columns}


def verl(content: object, **columns: object) -> dict[str, Any]:
    truth = {"reward_model": {"ground_truth": "B"}, "data_source": "clips"}
    return {"prompt": [{"role": "user", "content": content}], **truth, **columns}


def part(**keys: object) -> list[dict[str, object]]:
    return [keys, {"type": "text", "text": ASKED}]


@pytest.mark.parametrize(
    "record",
    [
        {"problem": f"<video>{ASKED}", "answer": "B", "videos": [FRAMES]},
        {"problem": f"<video>{ASKED}", "answer": "B", "videos": [{"video": FRAMES, "fps": 2}]},
        {"problem": ASKED, "solution": "B", "data_type": "video", "path": [FRAMES]},
        chat(f"<video>{ASKED}", videos=[FRAMES]),
        chat(f"<video>{ASKED}", videos=[FRAMES], solution="B"),
        chat(part(type="video", video=FRAMES)),
        verl(f"<video>{ASKED}", videos=[{"type": "video", "video": FRAMES}]),
        {"message": json.dumps(chat(part(type="video", video=FRAMES))["messages"]), "answer": "B"},
    ],
)
def test_a_list_of_frames_is_one_video_in_every_format(record: dict[str, Any]) -> None:
    row = read(record)

    assert isinstance(row, SourceRow), row
    assert row.media == tuple(map(Medium, FRAMES)) and row.shows_video


def test_frames_that_are_not_a_list_of_their_own_are_told_how() -> None:
    drop = drop_of({"problem": f"<video>{ASKED}", "answer": "B", "videos": FRAMES})

    assert drop.reason is DropReason.WRONG_MARKS and "[[FRAME, ...]]" in drop.detail


@pytest.mark.parametrize(
    ("record", "media"),
    [
        ({"problem": f"<video>{ASKED}", "answer": "B", "video": "a.mp4"}, VIDEO),
        ({"problem": f"<image>{ASKED}", "answer": "B", "image": "i.png"}, IMAGE),
        (llava(f"<video>\n{ASKED}", video="a.mp4"), VIDEO),
        (llava("<image>\nWhat is it?", image="i.png"), IMAGE),
        (chat(f"<video>{ASKED}", video="a.mp4", image=""), VIDEO),
        (chat(ASKED, video="a.mp4", solution="B"), VIDEO),
        (verl(f"<image>{ASKED}", image={"path": "i.png", "bytes": None}), IMAGE),
    ],
)
def test_columns_may_be_called_by_one_medium(
    record: dict[str, Any], media: tuple[Medium, ...]
) -> None:
    row = read(record)

    assert isinstance(row, SourceRow), row
    assert row.media == media


@pytest.mark.parametrize(
    "record",
    [
        {"problem": ASKED, "answer": "B", "video": "a.mp4"},
        {"problem": ASKED, "answer": "A", "image": "i.png"},
        llava(ASKED, video="a.mp4"),
        verl(ASKED, videos=["a.mp4"]),
    ],
)
def test_a_medium_that_the_text_does_not_place_is_told(record: dict[str, Any]) -> None:
    drop = drop_of(record)

    assert drop.reason is DropReason.WRONG_MARKS
    assert "Write a mark where each medium is shown" in drop.detail


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("video_path", "clips/a.mp4"),
        ("file", "https://h.example/a.mp4?token=1"),
        ("frames", ["f0", "f1"]),
        ("jpg", PNG),
        ("Image", {"bytes": PNG, "path": None}),
        ("picture_data", "data:image/png;base64," + base64.b64encode(PNG).decode()),
        ("content", base64.b64encode(PNG).decode()),
    ],
)
@pytest.mark.parametrize("make", ["easyr1", "chat", "verl"])
def test_a_medium_in_a_column_that_is_not_read_makes_no_row_of_text(
    make: str, column: str, value: object
) -> None:
    record = {
        "easyr1": {"problem": ASKED, "answer": "B"},
        "chat": chat(ASKED),
        "verl": verl(ASKED),
    }[make]

    drop = drop_of(record | {column: value})

    assert drop.reason is DropReason.WRONG_COLUMNS
    assert f"column {column} holds a picture or a video and is not read" in drop.detail
    assert "rename it to `images` or `videos`" in drop.detail


def test_columns_that_hold_no_medium_stay_unread() -> None:
    record = {"problem": "Name a file of videos, such as a.mp4", "answer": "b.mp4"}
    record |= {"images": [], "video": None, "image": ""}
    others = {"id": "c.mp4", "source": "https://h.example/page", "score": 0.5, "frames": 3}
    others |= {"tags": [], "comment": "asked of a.mp4"}

    assert isinstance(read(record | others), SourceRow)


@pytest.mark.parametrize(
    ("parts", "media"),
    [
        # A table gives each part all keys.
        (
            [
                {"type": "video", "video": "a.mp4", "text": ""},
                {"type": "text", "text": ASKED, "video": ""},
            ],
            VIDEO,
        ),
        (part(type="video", video="a.mp4", text=None, image=None), VIDEO),
        (part(type="video_url", video_url={"url": "file:///d/a.mp4"}), "file:///d/a.mp4"),
        (part(type="image_url", image_url={"url": "i.png", "detail": "low"}), IMAGE),
        (part(type="input_image", image_url="i.png"), IMAGE),
        (part(type="image", path="i.png"), IMAGE),
        (part(type="video", url="a.mp4"), VIDEO),
        (part(video="a.mp4"), VIDEO),
        ([{"type": "image", "image": {"bytes": PNG, "path": None}}, "What is it?"], PNG),
    ],
)
@pytest.mark.parametrize("make", [chat, verl])
def test_parts_of_messages_show_what_their_type_says(make: Any, parts: Any, media: Any) -> None:
    row = read(make(parts))

    assert isinstance(row, SourceRow), row
    by_text = (Medium(media),) if isinstance(media, str) else media
    assert row.media == ((Medium("", media),) if isinstance(media, bytes) else by_text)


def test_a_part_without_a_place_stands_for_the_medium_of_the_row() -> None:
    row = read(chat(part(type="image"), images=["i.png"]))

    assert isinstance(row, SourceRow) and row.media == IMAGE
    assert row.problem == f"<image>{ASKED}"


def test_media_beside_the_content_of_a_message_are_its_own() -> None:
    message = {"role": "user", "content": f"<image>{ASKED}", "images": ["i.png"]}

    row = read(chat("") | {"messages": [message, {"role": "assistant", "content": "B"}]})

    assert isinstance(row, SourceRow) and row.media == IMAGE


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        (chat(part(type="image", image="i.png", text="or text")), "WrongColumns", "has text too"),
        (chat(part(type="audio", audio="a.wav")), "WrongColumns", "text, an image or a video"),
        (
            chat(part(type="video", video="a.mp4", video_start=1.0)),
            "WrongColumns",
            "video_start: a part of a video is not taken",
        ),
        (
            chat(part(type="image", image="i.png"), images=["j.png"]),
            "Unsupported",
            "which mark means which",
        ),
        (
            {"problem": "<image>?", "answer": "B", "images": ["data:image/png,abc"]},
            "WrongColumns",
            "must be base64",
        ),
        (
            {"problem": "<image>?", "answer": "B", "images": ["x" * 5000]},
            "WrongColumns",
            "is no path",
        ),
    ],
)
def test_what_cannot_be_decided_is_a_drop(record: dict[str, Any], reason: str, detail: str) -> None:
    drop = drop_of(record)

    assert drop.reason.value == reason and detail in drop.detail


@pytest.mark.parametrize("start", ["", "data:image/png;base64,", "data:image/png;x=y;base64,"])
def test_base64_is_the_file_itself(tmp_path: Path, start: str) -> None:
    column = [start + base64.b64encode(PNG).decode()]
    records = [{"problem": f"<image>{ASKED}", "answer": "B", "images": column}]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "rows.parquet")

    row = read(pq.read_table(tmp_path / "rows.parquet").to_pylist()[0])

    assert isinstance(row, SourceRow) and row.media == (Medium("", PNG),)


NUMBERS = ["NaN", "Infinity", "-Infinity", "1e400"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "line",
    [
        '{"problem": "Q?", "answer": %s}',
        '{"problem": "Q?", "answer": [1, {"a": %s}]}',
        '{"problem": %s, "answer": "B"}',
        '{"prompt": [{"role": "user", "content": "Q?"}], "reward_model": {"ground_truth": %s}}',
        '{"problem": "Q?", "solution": %s, "data_type": "text"}',
        r'{"message": "[{\"role\": \"user\", \"content\": \"Q?\"}]", "answer": %s}',
        '{"messages": [{"role": "user", "content": "Q?"}], "solution": %s}',
        '{"image": ["a.png"], "problem": "<image>", "solution": %s, "task": "ocr"}',
    ],
)
def test_what_is_no_number_is_no_answer(line: str, number: str) -> None:
    drop = drop_of(json.loads(line % number))

    assert drop.reason is DropReason.WRONG_COLUMNS and "JSON" in drop.detail


def test_what_is_no_number_in_another_column_costs_no_row() -> None:
    assert isinstance(read({"problem": "Q?", "answer": "B", "score": float("nan")}), SourceRow)


def test_a_missing_number_of_a_parquet_file_is_no_answer(tmp_path: Path) -> None:
    table = pa.table({"problem": ["Q1?", "Q2?"], "answer": pa.array([3.0, float("nan")])})
    pq.write_table(table, tmp_path / "rows.parquet")

    report = ingest(tmp_path / "rows.parquet", tmp_path / "out", split=TRAIN)

    assert reasons(report) == [("rows.parquet:2", "WrongColumns")]
    assert [row.answer for row in opened(tmp_path / "out").rows()] == ["3.0"]


@pytest.mark.parametrize("blank", ["", "   ", None])
@pytest.mark.parametrize(
    ("rows_format", "record", "column"),
    [
        ("EasyR1", {"problem": "Q?"}, "answer"),
        ("OpenRlhf", {"message": '[{"role": "user", "content": "Q?"}]'}, "answer"),
        ("Swift", {"messages": [{"role": "user", "content": "Q?"}]}, "solution"),
    ],
)
def test_blank_answers_are_counted(
    rows_format: str, record: dict[str, Any], column: str, blank: str | None
) -> None:
    drop = read_record(RowsFormat(rows_format), record | {column: blank}, "rows.json:1")

    assert isinstance(drop, Drop) and drop.reason is DropReason.NO_ANSWER
    assert f"column {column} is blank" in drop.detail


def test_a_blank_last_answer_of_a_conversation_is_counted() -> None:
    messages = [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": " "}]

    assert drop_of({"messages": messages}).reason is DropReason.NO_ANSWER


def test_answers_of_every_kind_are_told_apart(tmp_path: Path) -> None:
    big = "9" * 60
    answers = ["NaN", "null", '""', '"  "', "Infinity", '["B"]', "true", "3", big, "1e400"]
    lines = [f'{{"problem": "Q{i}?", "answer": {a}}}\n' for i, a in enumerate(answers)]
    (tmp_path / "rows.jsonl").write_text("".join(lines))

    report = ingest(tmp_path / "rows.jsonl", tmp_path / "out", split=TRAIN)

    assert report.info["drops"] == {"NoAnswer": 3, "WrongColumns": 3}
    kept = [row.answer for row in opened(tmp_path / "out").rows()]
    assert kept == ['["B"]', "true", "3", big]


def test_media_in_a_column_that_is_not_read_are_counted(tmp_path: Path) -> None:
    good = {"problem": "Q?", "answer": "x"}
    lost = {"problem": "Is it?", "answer": "x", "video_file": "a.mp4"}

    report = ingest(write_lines(tmp_path / "a.jsonl", [good, lost]), tmp_path / "out", split=TRAIN)

    assert reasons(report) == [("a.jsonl:2", "WrongColumns")]
