"""FakeSV's and FakeTT's annotations: short news videos, labelled as such."""

from assay_data.dataset.rows import VIDEO_MARK
from assay_data.drops import DropReason
from assay_data.sources.factr1 import QUESTION
from assay_data.sources.polarity import YES_IS_FAKE, classify
from assay_data.sources.record import Record, Text
from assay_data.sources.row import BadRow, Medium, SourceRow

FAKESV_LABELS = {"真": "no", "假": "yes"}
FAKETT_LABELS = {"real": "no", "fake": "yes"}
DEBUNKING = ("辟谣", "debunk", "debunking")


class NewsVideo(Record):
    """A row of FakeSV's or FakeTT's annotations."""

    video_id: str
    annotation: str
    title: Text = ""
    description: Text = ""
    """FakeTT's word for the title."""
    transcript: Text = ""


def read_fakesv(record: dict[str, object]) -> SourceRow:
    """Return a row of FakeSV, asked as Fact-R1 asks about news."""
    return _news_video(NewsVideo.model_validate(record), "fakesv", FAKESV_LABELS, "zh")


def read_fakett(record: dict[str, object]) -> SourceRow:
    """Return a row of FakeTT, asked as Fact-R1 asks about news."""
    return _news_video(NewsVideo.model_validate(record), "fakett", FAKETT_LABELS, "en")


def _news_video(row: NewsVideo, task: str, labels: dict[str, str], language: str) -> SourceRow:
    word = row.annotation.strip()
    if word in DEBUNKING:
        raise BadRow(DropReason.OTHER_CLASS, f"annotation {word!r}: it debunks, it is no fake")
    if word not in labels:
        allowed = ", ".join([*labels, *DEBUNKING[:1]])
        raise BadRow(DropReason.UNKNOWN_LABEL, f"annotation {word[:80]!r}: allowed are {allowed}")
    if not row.video_id.strip():
        raise BadRow(DropReason.WRONG_COLUMNS, "column video_id is empty")
    label, answer = classify(labels[word], YES_IS_FAKE)
    title = row.title or row.description
    said = f", the news audio is '{row.transcript}'" if row.transcript else ""
    return SourceRow(
        problem=f"{VIDEO_MARK} The news title is '{title}'{said}, {QUESTION} "
        "Please answer yes or no. Output the thinking process in <think> </think> and final "
        "answer in <answer> </answer> tags.",
        answer=answer,
        group=row.video_id,
        task=task,
        media=(Medium(f"{row.video_id}.mp4"),),
        label=label,
        labels_video=True,
        generator=label,
        title=title,
        transcript=row.transcript,
        language=language,
    )
