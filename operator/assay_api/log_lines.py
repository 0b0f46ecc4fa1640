"""Logs: one line per event, as JSON or for people. The same of every program."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from assay_api.errors import InvalidInput

LogFormat = Literal["json", "text"]
"""How a line looks."""
FORMATS: tuple[LogFormat, ...] = ("json", "text")
"""All of them."""
FORMAT_VARIABLE = "ASSAY_LOG_FORMAT"
"""Environment variable with the format, for programs that are not told by an option."""

LOGGERS = ("assay_api", "assay_operator", "assay_data", "assay_trainer")
"""Ours. What others have to tell is no news, unless it is a warning."""

_FIELDS = ("resource", "namespace", "reason")
"""What an event may be about, as attributes of its record."""
_NUMBERS = "numbers"
"""Attribute with an event's numbers by name: in JSON beside the message, which tells the main."""


class JsonLines(logging.Formatter):
    """One JSON object per event."""

    def __init__(self, context: Mapping[str, str | int] | None = None) -> None:
        """Add `context`, which tells this process from others, to every event."""
        super().__init__()
        self._context = dict(context or {})

    def format(self, record: logging.LogRecord) -> str:
        """Return the event as one line of JSON."""
        event: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._context,
            **_fields(record),
        }
        if numbers := getattr(record, _NUMBERS, None):
            event[_NUMBERS] = dict(numbers)
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)


class TextLines(logging.Formatter):
    """One line per event, who it is about first."""

    def __init__(self, who: str = "") -> None:
        """Begin every event's text with `who`, which tells this process from others."""
        super().__init__()
        self._who = who

    def format(self, record: logging.LogRecord) -> str:
        """Return the event as one line, a traceback after it."""
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M:%S")
        who = " ".join([self._who, *_fields(record).values()]).strip()
        line = " ".join(p for p in (at, record.levelname, who, record.getMessage()) if p)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields(record: logging.LogRecord) -> dict[str, str]:
    return {name: str(getattr(record, name)) for name in _FIELDS if getattr(record, name, "")}


def checked_format(form: str, field: str) -> LogFormat:
    """Return a format that somebody has asked for.

    Args:
        form: what was asked for.
        field: the option or variable, for the message.

    Raises:
        InvalidInput: there is no such format.
    """
    for known in FORMATS:
        if form == known:
            return known
    raise InvalidInput(f"{field}: got {form!r}, allowed: {', '.join(FORMATS)}")


def logs_as_json() -> bool:
    """Tell whether this process's log is JSON, so that nothing else may be written there."""
    return any(isinstance(h.formatter, JsonLines) for h in logging.getLogger().handlers)


def set_up_logs(
    form: LogFormat, *, who: str = "", context: Mapping[str, str | int] | None = None
) -> None:
    """Send this process's logs to standard error.

    Args:
        form: how a line looks.
        who: what a line for people begins with, such as `foundation-a1 learner`.
        context: what a line of JSON says besides, such as the attempt.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(context) if form == "json" else TextLines(who))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
