"""Progress for people: a bar on a terminal, otherwise a line in the log every few seconds."""

import logging
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

Progress = Callable[[int, int], None]
"""Is told how many videos or rows are done, and how many there are."""

SECONDS_BETWEEN_LINES = 5.0

_LOG = logging.getLogger(__name__)


def report_progress(what: str) -> Progress:
    """Return a function to be told how many are done and how many there are.

    Args:
        what: is done, such as `videos`.
    """
    return _bar(what) if sys.stderr.isatty() else _lines(what)


def _bar(what: str) -> Progress:
    bar = tqdm(unit=f" {what}", file=sys.stderr)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return show


def _lines(what: str) -> Progress:
    last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        if done >= total or time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            if _LOG.isEnabledFor(logging.INFO):
                _LOG.info("%d of %d %s", done, total, what)
            else:
                print(f"{done} of {total} {what}", file=sys.stderr, flush=True)

    return show
