"""How a command ends: what went wrong, told once, and its exit code."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from assay_api.errors import (
    UNAVAILABLE_EXIT_CODE,
    AssayError,
    EngineLostError,
    InvalidInput,
    JudgeError,
    StoreError,
)
from assay_api.log_lines import logs_as_json


def tell(error: AssayError | InvalidInput) -> None:
    """Say what went wrong, as the log of this process has its lines."""
    if logs_as_json():
        logging.getLogger(__package__).error("%s", error)
    else:
        print(f"assay: {error}", file=sys.stderr)


@contextmanager
def attempt() -> Iterator[None]:
    """Run a container's work: what ends it because something was away is worth another attempt.

    Raises:
        SystemExit: store, judge or an engine were away for too long, with an exit code of its own.
    """
    try:
        yield
    except (StoreError, JudgeError, EngineLostError) as error:
        tell(error)
        raise SystemExit(UNAVAILABLE_EXIT_CODE) from None
