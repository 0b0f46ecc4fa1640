"""Logs: one line per event, as JSON or for people."""

import json
import logging
import sys
from datetime import UTC, datetime

_FIELDS = ("resource", "namespace", "reason")


class JsonLines(logging.Formatter):
    """One JSON object per event."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the event as one line of JSON."""
        event: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)


class TextLines(logging.Formatter):
    """One line per event, resource first."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the event as one line, a traceback after it."""
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        who = " ".join(_fields(record).values())
        line = " ".join(p for p in (at, record.levelname[0], who, record.getMessage()) if p)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields(record: logging.LogRecord) -> dict[str, str]:
    return {name: str(getattr(record, name)) for name in _FIELDS if getattr(record, name, "")}


def set_up_logs(form: str) -> None:
    """Send this process's logs to standard error.

    Args:
        form: `json` or `text`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Every object it sees, every request it makes: the loop tells what comes of them.
    for name in ("kopf", "urllib3", "kubernetes"):
        logging.getLogger(name).setLevel(logging.WARNING)
