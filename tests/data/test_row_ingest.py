import json
from pathlib import Path
from typing import Any

import pytest
from made_rows import TRAIN, URL, ingest, news, opened, reasons, write_lines

from assay_api import InvalidInput, Split
from assay_data.dataset.rows import ClipRow


@pytest.fixture
def eight_news(tmp_path: Path) -> Path:
    records = [
        news(f"v{i // 2}", "Yes\na cat" if i % 2 else "No\na cow", f"T{i}") for i in range(8)
    ]
    return write_lines(tmp_path / "news.jsonl", records)


def test_rows_round_trip_through_shards(eight_news: Path, tmp_path: Path) -> None:
    report = ingest(eight_news, tmp_path / "out")

    rows = sorted(opened(tmp_path / "out").rows(), key=lambda row: row.source)
    assert report.drops == ()
    assert [row.source for row in rows] == [f"news.jsonl:{i}" for i in range(1, 9)]
    first = rows[1]
    assert isinstance(first, ClipRow)
    assert (first.row_id, first.video_id, first.label) == ("news-000002", "v0", "fake")
    assert (first.answer, first.entity, first.title) == ("yes", "a cat", "T1")
    assert (first.task, first.media, first.width) == ("fakevv", (URL + "v0",), 0)
    assert report.info["num_videos"] == 4 and report.info["num_rows_with_frames"] == 0
    assert report.info["rows_by_task"] == {"fakevv": 8}


def test_titles_of_one_video_stay_together(eight_news: Path, tmp_path: Path) -> None:
    ingest(eight_news, tmp_path / "out", split={"testFraction": 0.5})

    parts = {(row.video_id, row.split) for row in opened(tmp_path / "out").rows()}
    assert len(parts) == 4
    assert {part for _, part in parts} == {"Train", "Test"}


def test_a_row_without_frames_says_so(eight_news: Path, tmp_path: Path) -> None:
    ingest(eight_news, tmp_path / "out")

    with pytest.raises(InvalidInput, match="has no frames"):
        opened(tmp_path / "out").frames("news-000001")


@pytest.mark.parametrize("rule", ["Train", "Test"])
def test_all_rows_in_one_part(eight_news: Path, tmp_path: Path, rule: str) -> None:
    report = ingest(eight_news, tmp_path / "out", split={"rule": rule})

    assert report.info["rows_by_split"] == {rule: 8}


def test_a_test_set_is_kept_as_it_was_published(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", [news("a", "Yes"), news("b", "No")] * 2)

    trained = ingest(source, tmp_path / "train", split={"rule": "Train"})
    tested = ingest(source, tmp_path / "test", split={"rule": "Test"})

    assert reasons(trained) == [("a.jsonl:3", "Duplicate"), ("a.jsonl:4", "Duplicate")]
    assert (tested.info["num_rows"], reasons(tested)) == (4, [])
    named = source.rename(tmp_path / "news_test.jsonl")
    assert ingest(named, tmp_path / "named").info["num_rows"] == 4


def test_bare_prompts_may_repeat(tmp_path: Path) -> None:
    prompts = [{"prompt": [{"role": "user", "content": text}]} for text in ("1,2", "1,2", "3,4")]

    report = ingest(write_lines(tmp_path / "a.jsonl", prompts), tmp_path / "out")

    assert (report.info["num_rows"], report.info["num_videos"]) == (3, 2)


def verl(split: str, question: str) -> dict[str, Any]:
    return {
        "data_source": "sums",
        "prompt": [{"role": "user", "content": question}],
        "reward_model": {"style": "rule", "ground_truth": "2"},
        "extra_info": {"split": split, "index": 0},
    }


def test_the_source_may_divide_its_rows(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", [verl("train", "1+1"), verl("test", "0+2")])

    ingest(source, tmp_path / "out", split={"rule": "Source"})

    rows = opened(tmp_path / "out").rows(Split.TEST)
    assert [row.problem for row in rows] == ["0+2"]


def test_a_question_in_both_parts_is_refused(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", [verl("train", "1+1"), verl("test", "1+1")])

    with pytest.raises(InvalidInput, match=r"in Train and in Test, such as text-[0-9a-f]{16}:"):
        ingest(source, tmp_path / "out", split={"rule": "Source"})
    assert not (tmp_path / "out").exists()


def test_a_source_that_does_not_divide_is_refused(eight_news: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"of 4 videos or questions neither.*v0, v1"):
        ingest(eight_news, tmp_path / "out", split={"rule": "Source"})


def test_file_names_divide_too(eight_news: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    eight_news.rename(folder / "news_train.jsonl")
    write_lines(folder / "test" / "other.jsonl", [news("z", "Yes")])

    report = ingest(folder, tmp_path / "out", split={"rule": "Source"})

    assert report.info["rows_by_split"] == {"Test": 1, "Train": 8}


def test_every_bad_row_is_dropped_with_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    good = news("good", "Yes")
    write_lines(folder / "a.jsonl", [good, news("a", "Perhaps"), good, {"image": 3}, [1]])
    with (folder / "a.jsonl").open("ab") as file:
        file.write(b'\n{"image": \n\xff\xfe\n' + json.dumps(news("end", "No")).encode())
    (folder / "b.parquet").write_bytes(b"PAR1 no parquet at all PAR1")
    (folder / "c.json").touch()
    (folder / "d.json").write_text("[1, 2")
    write_lines(folder / "e.json", [{"colour": "red"}])
    marks = news("m", "Yes")
    write_lines(folder / "f.jsonl", [marks | {"problem": "<image>" * 5}])
    (folder / "notes.txt").write_text("x")

    report = ingest(folder, tmp_path / "out", split={"rule": "Train"})

    assert reasons(report) == [
        ("a.jsonl:2", "UnknownLabel"),
        ("a.jsonl:3", "Duplicate"),
        ("a.jsonl:4", "WrongColumns"),
        ("a.jsonl:5", "Malformed"),
        ("a.jsonl:7", "Malformed"),
        ("a.jsonl:8", "Malformed"),
        ("b.parquet", "Corrupt"),
        ("c.json", "Empty"),
        ("d.json", "Malformed"),
        ("e.json", "WrongColumns"),
        ("f.jsonl:1", "WrongMarks"),
        ("notes.txt", "NotRows"),
    ]
    assert [row.source for row in opened(tmp_path / "out").rows()] == ["a.jsonl:1", "a.jsonl:9"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "", r"no usable row \(dropped: Empty 1; the first: a.json: it has 0 bytes"),
        ("a.jsonl", "\n\n", "no usable row"),
        ("a.jsonl", "{", r"Malformed 1.*a.jsonl:1: not valid JSON"),
        ("a.jsonl", '{"colour": 1}', "no known format has the columns 'colour'; known are FactR1"),
        ("a.txt", "x", r"extension .txt, allowed: .json, .jsonl"),
        ("a.yaml", "datasets: 3", r"must be a list `datasets: \[\{json_path: FILE\}"),
        ("a.yaml", "datasets: [{json_path: x.json}]", "x.json is no file of rows; looked for"),
        (
            "a.yaml",
            "datasets: [{json_path: x.json, sampling_strategy: 'first:9'}]",
            "field sampling_strategy: got 'first:9', allowed: all",
        ),
    ],
)
def test_a_source_without_usable_rows_is_refused(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)

    with pytest.raises(InvalidInput, match=message):
        ingest(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("depth", [100, 900, 980, 990, 2000, 100_000])
def test_a_row_that_is_nested_too_deeply_stops_nothing(tmp_path: Path, depth: int) -> None:
    good = json.dumps(news("a", "Yes"))
    deep = f'{good[:-1]}, "junk": {"[" * depth}{"]" * depth}}}'
    (tmp_path / "a.jsonl").write_text(f"{deep}\n{good}\n")

    report = ingest(tmp_path / "a.jsonl", tmp_path / "out", split=TRAIN)

    assert {reason for _, reason in reasons(report)} <= {"Malformed"}
    assert report.info["num_rows"] in (1, 2)


def test_a_list_of_files_is_followed(eight_news: Path, tmp_path: Path) -> None:
    listing = tmp_path / "data_config" / "all.yaml"
    listing.parent.mkdir()
    listing.write_text("datasets:\n  - json_path: ./news.jsonl\n")

    report = ingest(listing, tmp_path / "out")

    assert report.info["num_rows"] == 8
    assert min(row.source for row in opened(tmp_path / "out").rows()) == "news.jsonl:1"


def test_the_same_video_under_two_labels_is_dropped(tmp_path: Path) -> None:
    labels = [("1", "真"), ("2", "假"), ("1", "假"), ("3", "真"), ("3", "真")]
    records = [{"video_id": v, "title": "狗", "annotation": label} for v, label in labels]

    report = ingest(write_lines(tmp_path / "a.json", records), tmp_path / "out", split=TRAIN)

    assert reasons(report) == [
        ("a.json:1", "ConflictingLabel"),
        ("a.json:3", "ConflictingLabel"),
        ("a.json:5", "Duplicate"),
    ]


LINES = [{"problem": f"Q{i}?", "answer": f"a\u00e4 {i}"} for i in range(3)]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
@pytest.mark.parametrize("form", ["lines", "list", "crlf", "one"])
def test_rows_are_read_in_every_encoding_of_unicode(
    tmp_path: Path, encoding: str, form: str
) -> None:
    written = {
        "lines": "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in LINES),
        "crlf": "\r\n".join(json.dumps(line, ensure_ascii=False) for line in LINES),
        "list": json.dumps(LINES, indent=2, ensure_ascii=False),
        "one": json.dumps(LINES[0], indent=2, ensure_ascii=False),
    }[form]
    (tmp_path / "rows.jsonl").write_bytes(written.encode(encoding))

    report = ingest(tmp_path / "rows.jsonl", tmp_path / "out", split=TRAIN)

    rows = opened(tmp_path / "out").rows()
    wanted = LINES[:1] if form == "one" else LINES
    assert [row.answer for row in rows] == [line["answer"] for line in wanted]
    assert rows[-1].source == f"rows.jsonl:{len(wanted)}" and report.drops == ()


def test_what_lies_beside_rows_is_one_drop_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_lines(folder / "rows.jsonl", [*LINES])
    columns = {"messages": "messages", "videos": "videos"}
    info = {"mine": {"file_name": "rows.jsonl", "columns": columns}}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2))
    (folder / "notes.json").write_text("no JSON\nin any\nof its lines\n")
    (folder / "config.json").write_text('{\n  "a": {"problem": "Q?", "answer": "x"},\n  "b": 1\n}')
    (folder / "more.jsonl.gz").write_bytes(b"packed")

    report = ingest(folder, tmp_path / "out", split=TRAIN)

    assert reasons(report) == [
        ("config.json", "WrongColumns"),
        ("dataset_info.json", "WrongColumns"),
        ("more.jsonl.gz", "NotRows"),
        ("notes.json", "Malformed"),
    ]
    assert "none of its 3 lines is JSON; the first: not valid JSON" in report.drops[3].detail
    assert report.info["num_rows"] == 3
