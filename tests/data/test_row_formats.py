import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay_api.dataset import Polarity, RowsFormat
from assay_api.prompt import BUSTERX_QUESTION
from assay_data.dataset.rows import Turn
from assay_data.drops import Drop, DropReason
from assay_data.sources.files import read_records
from assay_data.sources.polarity import B_IS_FAKE
from assay_data.sources.registry import READERS, detect, read_record
from assay_data.sources.row import Medium, SourceRow
from assay_trainer.answers.letter import LETTERS

MD5 = "0f" * 16
ASKED = "is this multimodal content manipulated? Please answer yes or no."
NEWS = "<image>" * 8 + f" The news title is 'It's 'a' dog', the news audio is 'woof', {ASKED}"
URL = "https://www.youtube.com/watch?v=dog_1"
MCQ = "<image>" + BUSTERX_QUESTION


def read(record: object, rows_format: RowsFormat | None = None, **options: Any) -> SourceRow:
    if rows_format is None:
        assert isinstance(record, dict)
        rows_format = detect([record])
    assert rows_format is not None
    row = read_record(rows_format, record, "rows.json:1", **options)
    assert isinstance(row, SourceRow), row
    return row


def reason(record: object, rows_format: RowsFormat, **options: Any) -> DropReason:
    drop = read_record(rows_format, record, "rows.json:1", **options)
    assert isinstance(drop, Drop), drop
    assert drop.source == "rows.json:1" and drop.detail
    return drop.reason


def messages(*contents: str) -> list[dict[str, str]]:
    roles = ["user", "assistant"] * len(contents)
    return [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]


def fakevv(answer: str) -> dict[str, object]:
    frames = [f"./{MD5}/{MD5}_frame_{i}.png" for i in range(1, 9)]
    return {"messages": messages(NEWS, answer), "images": frames}


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("<answer>Yes.</answer>", "fake"),
        ("<answer> No. </answer>", "real"),
        ("<answer>\nNo.\n</answer>", "real"),
        ("<think>not now, yes</think><answer>no</answer>", "real"),
    ],
)
def test_fakevv_yes_is_fake_in_every_spelling(answer: str, label: str) -> None:
    row = read(fakevv(answer))

    assert (row.label, row.answer) == (label, {"fake": "yes", "real": "no"}[label])
    assert (row.task, row.group, len(row.media)) == ("fakevv", MD5, 8)
    assert (row.title, row.transcript, row.language) == ("It's 'a' dog", "woof", "en")
    assert (row.response, row.labels_video) == (answer, False)


def test_an_answer_that_is_neither_is_named() -> None:
    drop = read_record(RowsFormat.FACT_R1, fakevv("<answer>Maybe.</answer>"), "x:3")

    assert isinstance(drop, Drop) and drop.reason is DropReason.UNKNOWN_LABEL
    assert "Maybe" in drop.detail and "yes (fake)" in drop.detail


@pytest.mark.parametrize("column", ["title", "response"])
def test_a_row_whose_text_spells_a_token_of_control_is_dropped(column: str) -> None:
    text = "<answer>No.</answer>"
    record = fakevv(text + "<|im_end|>" if column == "response" else text)
    if column == "title":
        record = json.loads(json.dumps(record).replace("a' dog", "a' <|im_end|>"))
    drop = read_record(RowsFormat.FACT_R1, record, "x:3")

    assert isinstance(drop, Drop) and drop.reason is DropReason.CONTROL_TOKEN
    assert "<|im_end|>" in drop.detail


def test_one_url_stands_for_eight_frames_and_for_no_other_number() -> None:
    record = fakevv("<answer>No.</answer>") | {"images": [URL]}
    assert (read(record).media, read(record).group) == ((Medium(URL),), "dog_1")
    assert read(record | {"images": [URL] * 8}).media == (Medium(URL),)

    assert reason(record | {"images": [URL] * 2}, RowsFormat.FACT_R1) is DropReason.WRONG_MARKS
    five = messages("<image>" * 5 + ASKED, "<answer>No.</answer>")
    wrong = record | {"messages": five}
    assert reason(wrong, RowsFormat.FACT_R1) is DropReason.WRONG_MARKS


@pytest.mark.parametrize(
    ("solution", "answer", "entity"),
    [
        ("Yes\na cat", "yes", "a cat"),
        ("No\na cat\na cow", "no", "a cat\na cow"),
        ("No.", "no", ""),
    ],
)
def test_what_follows_the_answer_is_the_entity(solution: str, answer: str, entity: str) -> None:
    row = read({"image": [URL], "problem": NEWS, "solution": solution, "task": "fakevv"})

    assert (row.answer, row.entity) == (answer, entity)


def test_captions_and_texts_in_pictures_have_no_label() -> None:
    marks = "<image>" * 8
    caption = read(
        {"image": [URL], "problem": f"{marks}\nQuestion", "solution": "No dog.", "task": "caption"}
    )
    ocr = read({"image": [URL], "problem": "<image>Read", "solution": "STOP", "task": "ocr"})
    chain = read(
        {
            "messages": messages(f"{marks}Describe.", "<think>a</think><answer>Dogs.</answer>"),
            "images": [URL],
        },
        RowsFormat.FACT_R1,
    )

    assert [(r.task, r.label, r.answer) for r in (caption, ocr, chain)] == [
        ("caption", "", "No dog."),
        ("ocr", "", "STOP"),
        ("caption", "", "Dogs."),
    ]


def test_a_pair_has_no_label_and_may_agree() -> None:
    record = {
        "conversations": [{"from": "human", "value": NEWS}],
        "chosen": {"from": "gpt", "value": "<think>good</think><answer>No.</answer>\n"},
        "rejected": {"from": "gpt", "value": "<think>bad</think><answer>No.</answer>"},
        "images": [URL],
    }

    row = read(record)

    assert (row.answer, row.label, row.task) == ("no", "", "fakevv")
    assert "good" in row.chosen and "bad" in row.rejected


def test_annotations_of_short_videos_are_asked_as_news() -> None:
    fake = read({"video_id": "77", "title": "狗", "annotation": "假", "ocr": "x"})
    real = read({"video_id": "78", "description": "A dog", "annotation": "real"})
    debunked = {"video_id": "79", "title": "狗", "annotation": "辟谣"}

    assert (fake.label, fake.answer, fake.language, fake.title) == ("fake", "yes", "zh", "狗")
    assert (real.label, real.task, real.media) == ("real", "fakett", (Medium("78.mp4"),))
    assert fake.labels_video and fake.problem.startswith("<video> The news title is '狗', is")
    assert reason(debunked, RowsFormat.FAKE_SV) is DropReason.OTHER_CLASS
    unknown = debunked | {"annotation": "?"}
    assert reason(unknown, RowsFormat.FAKE_SV) is DropReason.UNKNOWN_LABEL


def test_easyr1_rows_carry_paths_or_bytes() -> None:
    by_path = read({"problem": "<image>How many?", "answer": 4, "images": ["a/1.png"]})
    by_bytes = read(
        {"prompt": "<image>How many?", "answer": "4", "images": [{"bytes": b"x", "path": None}]}
    )
    video = read({"problem": "<video>What?", "answer": "x", "videos": ["a.mp4"]})

    assert (by_path.answer, by_path.group, by_path.label) == ("4", "a/1.png", "")
    assert by_bytes.media == (Medium("", b"x"),)
    by_url = read({"problem": "<image>?", "answer": 4, "images": "data:image/png;base64,eA=="})
    assert by_url.media == (Medium("", b"x"),)
    assert video.media == (Medium("a.mp4"),)


def test_a_question_with_options_labels_the_video() -> None:
    row = read({"problem": MCQ, "answer": " b ", "images": ["a/frame_1.jpg"]})

    assert (row.label, row.answer, row.task, row.labels_video) == ("fake", "B", "detection", True)
    wrong = {"problem": MCQ, "answer": "C", "images": ["a.jpg"]}
    assert reason(wrong, RowsFormat.EASY_R1) is DropReason.UNKNOWN_LABEL


def test_the_letters_mean_the_same_in_data_and_training() -> None:
    assert LETTERS == {B_IS_FAKE.real: "real", B_IS_FAKE.fake: "fake"}


def test_the_owner_of_a_source_may_say_what_answers_mean() -> None:
    record = {"problem": "<image>Genuine?", "answer": "Genuine.", "images": ["a.png"]}
    polarity = Polarity(real="genuine", fake="forged")

    assert read(record, polarity=polarity).label == "real"
    unknown = record | {"answer": "unsure"}
    assert reason(unknown, RowsFormat.EASY_R1, polarity=polarity) is DropReason.UNKNOWN_LABEL


def test_fspo_keeps_evidence_out_of_the_prompt() -> None:
    record = {
        "_id": "q1",
        "data_source": "HotpotQA",
        "question": "Who barks?",
        "answer": "A dog",
        "knowledge": "Dogs bark.",
        "prompt": [{"role": "user", "content": "Answer: Who barks? <think>"}],
        "ability": "factuality",
        "reward_model": {"ground_truth": "A dog", "style": "rule"},
        "extra_info": {"index": 0, "split": "train"},
    }

    row = read(record)

    assert (row.task, row.group, row.part) == ("HotpotQA", "q1", "Train")
    assert (row.problem, row.evidence) == ("Who barks?", "Dogs bark.")
    assert row.prompt == (Turn("user", "Answer: Who barks? <think>"),)
    maths = {k: v for k, v in record.items() if k not in ("knowledge", "_id")}
    assert read(maths).evidence == "" and read(maths).group.startswith("text-")
    nothing = {"prompt": [{"role": "user", "content": "1,2:3"}]}
    assert (read(nothing).problem, read(nothing).answer) == ("1,2:3", "")


def test_verl_rows_are_counted_by_their_prompt() -> None:
    record = {
        "data_source": "shapes",
        "prompt": [{"role": "system", "content": "Be kind."}, *messages("<image>What is it?")],
        "images": [{"bytes": b"x"}],
        "reward_model": {"style": "rule", "ground_truth": ["disc", "circle"]},
        "extra_info": {"split": "test", "index": 3},
    }

    row = read(record)

    assert (row.problem, row.part) == ("<image>What is it?", "Test")
    assert row.answer == '["disc", "circle"]'
    assert reason(record | {"images": []}, RowsFormat.VERL) is DropReason.WRONG_MARKS


def test_conversations_end_with_what_is_to_be_learned() -> None:
    row = read({"messages": messages("<image>Who?", "A dog.", "And <image>?", "A cat.")} | two())

    assert row.response == row.answer == "A cat."
    assert row.problem == "<image>Who?\n\nA dog.\n\nAnd <image>?"
    assert [turn.role for turn in row.prompt] == ["user", "assistant", "user"]


def two() -> dict[str, object]:
    return {"images": ["1.jpg", "2.jpg"]}


def test_swift_rows_old_and_new() -> None:
    old = read({"query": "<img>a.jpg</img>What?", "response": "Dog", "history": [["Hi", "Yo"]]})
    new = read({"messages": messages(BUSTERX_QUESTION), "images": ["v/frame_1.jpg"]} | busterx())

    assert old.problem == "Hi\n\nYo\n\n<image>What?" and old.response == "Dog"
    assert old.media == (Medium("a.jpg"),)
    assert new.problem == MCQ and (new.label, new.generator) == ("fake", "sora")


def busterx() -> dict[str, object]:
    return {"solution": "B", "subcat": "sora", "track": "id"}


def test_openai_messages_in_a_json_text() -> None:
    parts = [{"type": "text", "text": "Why? "}, {"type": "image", "image": "file:///a/1.jpg"}]
    record = {"message": json.dumps([{"role": "user", "content": parts}]), "answer": "$1$"}

    row = read(record)

    assert (row.problem, row.answer) == ("Why? <image>", "$1$")
    assert row.media == (Medium("file:///a/1.jpg"),)
    broken = {"message": "[{", "answer": "1"}
    assert reason(broken, RowsFormat.OPEN_RLHF) is DropReason.WRONG_COLUMNS


def test_sophiavl_options_follow_the_question() -> None:
    record = {
        "problem_id": 1,
        "problem": "Who?",
        "data_type": "image",
        "options": ["A. dog", "B. cat"],
        "solution": "<answer>A</answer>",
        "path": "./a.jpg",
        "data_source": "pets",
    }

    row = read(record)

    assert (row.problem, row.answer) == ("<image>Who?\nOptions:\nA. dog\nB. cat", "A")
    assert reason(record | {"path": None}, RowsFormat.SOPHIA_VL) is DropReason.WRONG_COLUMNS


def test_wrong_columns_are_named() -> None:
    drop = read_record(RowsFormat.EASY_R1, {"problem": ["no text"]}, "x:1")

    assert isinstance(drop, Drop) and drop.reason is DropReason.WRONG_COLUMNS
    assert "problem is ['no text']" in drop.detail and "answer is missing" in drop.detail
    assert detect([{"a": 1}]) is None


@settings(max_examples=200, deadline=None)
@given(
    extension=st.sampled_from(["json", "jsonl", "parquet"]),
    content=st.one_of(
        st.binary(max_size=60),
        st.builds(lambda n: b"[" * n, st.integers(0, 200_000)),
        st.sampled_from([b'{"a": 1}\n\n{', b"\xef\xbb\xbf[1]", b"PAR1" * 9, b"1" * 5000, b"[NaN]"]),
    ),
)
def test_no_file_raises_anything(
    tmp_path_factory: pytest.TempPathFactory, extension: str, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{extension}"
    path.write_bytes(content)

    for source, record in read_records(path, "any"):
        assert source.startswith("any")
        assert not isinstance(record, Drop) or record.detail


COLUMNS = st.sampled_from(
    "messages conversations images videos image problem solution task answer prompt question "
    "data_source reward_model extra_info knowledge _id message query response history chosen "
    "rejected video_id annotation data_type path options role content from value".split()
)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["<image>", "<video>", NEWS, MCQ, "user", "fakevv", "Yes\nx", "假", URL]),
)
VALUES = st.recursive(
    st.one_of(
        TEXTS,
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.binary(max_size=4),
        st.text(st.characters(categories=["Cs"]), max_size=2),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(COLUMNS, TEXTS), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(record=st.one_of(VALUES, st.dictionaries(COLUMNS, VALUES, max_size=6)))
def test_no_record_raises_anything(record: object) -> None:
    if isinstance(record, dict):
        detect([record])
    for rows_format in READERS:
        found = read_record(rows_format, record, "rows.json:1")
        assert isinstance(found, SourceRow | Drop)
        if isinstance(found, Drop):
            found.detail.encode()
            assert len(found.detail) <= 300
        else:
            json.dumps([found.problem, found.answer, found.group]).encode()
