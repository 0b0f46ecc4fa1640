"""Rows with a question and its answer in columns: EasyR1's, verl's, FSPO's and SophiaVL-R1's."""

from typing import Any

from pydantic import AliasChoices, Field

from assay_data.dataset.rows import IMAGE_MARK, LABELS, VIDEO_MARK
from assay_data.drops import DropReason
from assay_data.sources.chat import Message, all_media, check_roles, labelled, refuse_sound
from assay_data.sources.grouping import group_of
from assay_data.sources.polarity import answer_of, asked_polarity
from assay_data.sources.record import AnyText, Mapping, Media, Record, Text, Videos, part_of
from assay_data.sources.row import BadRow, SourceRow, answered, chosen_media, joined_turns


class EasyR1(Record):
    """A row of EasyR1, by its default keys or by its example's."""

    problem: str = Field(validation_alias=AliasChoices("problem", "prompt"), min_length=1)
    answer: AnyText
    images: Media = Field(default=(), validation_alias=AliasChoices("images", "image"))
    videos: Videos = Field(default=(), validation_alias=AliasChoices("videos", "video"))
    audios: Media = Field(default=(), validation_alias=AliasChoices("audios", "audio"))
    data_source: Text = ""
    split: Text = ""


class Truth(Record):
    """verl's column of the right answer."""

    ground_truth: AnyText = ""


class Verl(Record):
    """A row of verl, and of FSPO, which adds the columns of a question with evidence."""

    prompt: tuple[Message, ...] = ()
    question: Text = ""
    problem: Text = ""
    answer: AnyText = ""
    data_source: Text = ""
    ability: Text = ""
    reward_model: Truth | None = None
    extra_info: Mapping = Field(default_factory=dict)
    images: Media = Field(default=(), validation_alias=AliasChoices("images", "image"))
    videos: Videos = Field(default=(), validation_alias=AliasChoices("videos", "video"))
    audios: Media = Field(default=(), validation_alias=AliasChoices("audios", "audio"))
    knowledge: Text = ""
    """FSPO: paragraphs that hold the answer's evidence; rows of mathematics have none."""
    identifier: Text = Field(default="", validation_alias="_id")
    right_answer: Text = ""
    """HaluEval's pair of answers: this one, and `hallucinated_answer`."""
    hallucinated_answer: Text = ""


class SophiaVl(Record):
    """A row of SophiaVL-R1."""

    problem: str = Field(min_length=1)
    solution: str
    data_type: str
    """`image`, `video` or `text`."""
    path: Videos = ()
    options: tuple[str, ...] | None = None
    data_source: Text = ""


def read_easyr1(record: dict[str, object]) -> SourceRow:
    """Return a row.

    Raises:
        BadRow, ValidationError: it is no such row.
    """
    row = EasyR1.model_validate(record)
    refuse_sound(row.audios)
    media = chosen_media(row.problem, row.images, row.videos)
    known = {"answer": answered(row.answer, "answer").strip(), "task": row.data_source}
    labels_video = labelled(known, asked_polarity(row.problem) if media else None)
    known["task"] = row.data_source or ("detection" if labels_video else "question")
    return SourceRow(
        problem=row.problem,
        media=media,
        group=group_of(media, row.problem),
        labels_video=labels_video,
        part=part_of(row.split),
        **known,  # type: ignore[arg-type]
    )


def read_verl(record: dict[str, object]) -> SourceRow:
    """Return a row. The prompt is kept to the letter; the evidence never becomes part of it.

    Raises:
        BadRow, ValidationError: it is no such row.
    """
    row = Verl.model_validate(record)
    refuse_sound(row.audios)
    turns = tuple(check_roles(message) for message in row.prompt)
    problem = row.question or row.problem or joined_turns(turns)
    if not problem.strip():
        raise BadRow(DropReason.WRONG_COLUMNS, "prompt, question and problem are missing or empty")
    asked = joined_turns(turns) or problem
    media = chosen_media(asked, *all_media(row.prompt, row.images, row.videos))
    known = _known(row)
    own_label = known["label"]
    labels_video = labelled(known, asked_polarity(asked) if media and not own_label else None)
    if own_label:
        generator = _said(row.extra_info, "generator") or own_label
        known |= {"label": own_label, "generator": generator}
    return SourceRow(
        problem=problem,
        prompt=turns,
        media=media,
        group=row.identifier or _said(row.extra_info, "video_id") or group_of(media, problem),
        labels_video=labels_video,
        **known,
    )


def _known(row: Verl) -> dict[str, str]:
    """Return what verl's nested columns say."""
    answer = row.answer or row.right_answer
    if not answer and row.reward_model:
        answer = row.reward_model.ground_truth
    label = _said(row.extra_info, "label")
    known = {
        "answer": answer,
        "task": row.data_source or ("question" if answer else "prompt"),
        "ability": row.ability,
        "part": part_of(_said(row.extra_info, "split")),
        "evidence": row.knowledge,
        "label": label if label in LABELS else "",
    }
    known |= {name: _said(row.extra_info, name) for name in ("entity", "title", "transcript")}
    if row.right_answer and row.hallucinated_answer:
        known |= {"chosen": row.right_answer, "rejected": row.hallucinated_answer}
    return known


def read_sophiavl(record: dict[str, object]) -> SourceRow:
    """Return a row; its options are written below the question.

    Raises:
        BadRow, ValidationError: it is no such row.
    """
    row = SophiaVl.model_validate(record)
    marks = {"image": IMAGE_MARK, "video": VIDEO_MARK, "text": ""}
    if row.data_type not in marks or (row.data_type == "text") == bool(row.path):
        raise BadRow(
            DropReason.WRONG_COLUMNS,
            f"data_type {row.data_type[:40]!r} with {len(row.path)} media: allowed are image and "
            "video with a path, and text without",
        )
    options = "\nOptions:\n" + "\n".join(row.options) if row.options else ""
    is_video = row.data_type == "video"
    images = () if is_video else tuple(medium for path in row.path for medium in path)
    count = len(row.path) if is_video else len(images)
    problem = marks[row.data_type] * count + row.problem + options
    media = chosen_media(problem, images, row.path if is_video else ())
    return SourceRow(
        problem=problem,
        answer=answer_of(answered(row.solution, "solution")),
        group=group_of(media, problem),
        task=row.data_source or "question",
        media=media,
    )


def _said(info: dict[str, Any], name: str) -> str:
    """Return a text of a mapping; empty when it is none."""
    value = info.get(name)
    return value if isinstance(value, str) else ""
