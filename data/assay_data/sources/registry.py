"""All formats of rows: how each is recognised and read. A new one is a line here."""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from assay_api.dataset import Polarity, RowsFormat
from assay_api.problems import field_path
from assay_data.drops import Drop, DropReason
from assay_data.sources.chat import (
    LlamaFactory,
    OpenRlhf,
    Swift,
    read_llama_factory,
    read_open_rlhf,
    read_swift,
)
from assay_data.sources.extra import extra_columns
from assay_data.sources.factr1 import Answered, MixedTask, Pair, asks_about_news, read_factr1
from assay_data.sources.fakesv import (
    DEBUNKING,
    FAKESV_LABELS,
    NewsVideo,
    read_fakesv,
    read_fakett,
)
from assay_data.sources.polarity import classify
from assay_data.sources.record import Record as Columns
from assay_data.sources.record import unread_medium
from assay_data.sources.row import BadRow, SourceRow, check_text
from assay_data.sources.tables import (
    EasyR1,
    SophiaVl,
    Verl,
    read_easyr1,
    read_sophiavl,
    read_verl,
)

Record = dict[str, object]
"""A decoded row: texts as keys, any values."""

_UNREAD = (
    "column {column} holds a picture or a video and is not read in this format: rename it to "
    "`images` or `videos`, or remove it"
)
MAX_DETAIL = 300
"""Characters of a drop's detail."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How one format is recognised, and read."""

    recognises: Callable[[Record], bool]
    read: Callable[[Record], SourceRow]
    """Raises BadRow or ValidationError for what is no such row, and nothing else."""
    columns: str
    """What a row must have, for people."""
    models: tuple[type[Columns], ...]
    """What is read; all other columns are kept as the row's extra ones."""


def _has(*names: str) -> Callable[[Record], bool]:
    return lambda record: record.keys() >= set(names)


def _is_fspo(record: Record) -> bool:
    named = {"knowledge", "hallucinated_answer"} & record.keys()
    return bool(named) or _has("question", "prompt", "reward_model")(record)


def _is_verl(record: Record) -> bool:
    return "reward_model" in record or isinstance(record.get("prompt"), list)


def _is_fakesv(record: Record) -> bool:
    named = (*FAKESV_LABELS, DEBUNKING[0])
    return _has("video_id", "annotation")(record) and record["annotation"] in named


def _is_swift(record: Record) -> bool:
    return _has("query")(record) or _has("messages", "solution")(record)


READERS: dict[RowsFormat, Reader] = {
    RowsFormat.FACT_R1: Reader(
        asks_about_news,
        read_factr1,
        "image, problem, solution, task; or messages, images; or conversations, chosen, rejected",
        (MixedTask, Answered, Pair),
    ),
    RowsFormat.FAKE_SV: Reader(
        _is_fakesv, read_fakesv, "video_id, title, annotation (真/假/辟谣)", (NewsVideo,)
    ),
    RowsFormat.FAKE_TT: Reader(
        _has("video_id", "annotation"),
        read_fakett,
        "video_id, description, annotation (real/fake)",
        (NewsVideo,),
    ),
    RowsFormat.SOPHIA_VL: Reader(
        _has("problem", "solution", "data_type"),
        read_sophiavl,
        "problem, solution, data_type",
        (SophiaVl,),
    ),
    RowsFormat.OPEN_RLHF: Reader(
        _has("message", "answer"), read_open_rlhf, "message, answer", (OpenRlhf,)
    ),
    RowsFormat.FSPO: Reader(
        _is_fspo, read_verl, "question, prompt, reward_model, knowledge", (Verl,)
    ),
    RowsFormat.VERL: Reader(_is_verl, read_verl, "prompt, data_source, reward_model", (Verl,)),
    RowsFormat.SWIFT: Reader(
        _is_swift, read_swift, "messages, solution; or query, response", (Swift,)
    ),
    RowsFormat.EASY_R1: Reader(
        lambda record: _has("problem", "answer")(record) or _has("prompt", "answer")(record),
        read_easyr1,
        "problem, answer; or prompt, answer",
        (EasyR1,),
    ),
    RowsFormat.LLAMA_FACTORY: Reader(
        lambda record: "messages" in record or "conversations" in record,
        read_llama_factory,
        "messages; or conversations",
        (LlamaFactory,),
    ),
}
"""In the order in which they are tried: those with the most particular columns first."""


def detect(records: Sequence[Record]) -> RowsFormat | None:
    """Return the format in which any of the first records of a file is; None if none is known."""
    for found, reader in READERS.items():
        if any(reader.recognises(record) for record in records):
            return found
    return None


def unknown_columns(records: Sequence[Record]) -> str:
    """Say that no format is recognised, and what would be."""
    columns = sorted({ascii(key)[:40] for record in records for key in record})
    known = "; ".join(f"{found.value}: {reader.columns}" for found, reader in READERS.items())
    return (
        f"no known format has the columns {', '.join(columns[:20]) or '(none)'}; known are "
        f"{known}. Rename the columns, or name the format if it is one of these"
    )


def read_record(
    rows_format: RowsFormat, record: object, source: str, polarity: Polarity | None = None
) -> SourceRow | Drop:
    """Return the row that a record is, or why it is none. Raises nothing, whatever the record is.

    Args:
        rows_format: its format; not Auto.
        record: as it was decoded.
        source: file and position.
        polarity: which answers mean which class, if the source's owner says so.
    """
    if not isinstance(record, dict):
        detail = f"a {type(record).__name__}, must be a mapping from columns to values"
        return Drop(source, DropReason.MALFORMED, detail)
    try:
        reader = READERS[rows_format]
        row = replace(reader.read(record), extra=extra_columns(record, reader.models))
        check_text(row)
        if not row.media and (column := unread_medium(record)):
            raise BadRow(DropReason.WRONG_COLUMNS, _UNREAD.format(column=ascii(column)[1:-1]))
        return row if polarity is None else _labelled(row, polarity)
    except BadRow as error:
        return Drop(source, error.reason, _short(error.detail))
    except ValidationError as error:
        return Drop(source, DropReason.WRONG_COLUMNS, _short(explain(error)))
    except RecursionError:
        return Drop(source, DropReason.MALFORMED, "its values are nested too deeply")


def _labelled(row: SourceRow, polarity: Polarity) -> SourceRow:
    label, answer = classify(row.answer, polarity)
    generator = row.generator if label == "fake" and row.generator else label
    return replace(row, label=label, answer=answer, generator=generator, labels_video=True)


def explain(error: ValidationError) -> str:
    """Say what is wrong with which column, in one line."""
    found = [
        f"column {field_path(detail['loc'])} {_problem(detail)}"
        for detail in error.errors(include_url=False, include_context=False)
    ]
    return "; ".join(found)


def _problem(detail: Mapping[str, object]) -> str:
    if detail["type"] == "missing":
        return "is missing"
    return f"is {reprlib.repr(detail['input'])}: {detail['msg']}"


def _short(text: str) -> str:
    """Return a text of bounded length, with nothing in it that UTF-8 cannot hold."""
    clean = text.encode(errors="backslashreplace").decode()
    return clean if len(clean) <= MAX_DETAIL else clean[: MAX_DETAIL - 3] + "..."
