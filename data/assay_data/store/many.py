"""Many files at the same time, with people told how far it is where that takes long."""

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from assay_data.progress import Progress, report_progress

Item = TypeVar("Item")
Result = TypeVar("Result")

FILES_AT_ONCE = 8
"""Files of a tree that are on their way at the same time."""
SHOWN_BYTES = 256 * 2**20
"""A tree of more bytes takes long enough that people are told how far it is."""


def shown(what: str, sizes_bytes: Iterable[int]) -> Progress | None:
    """Return what tells people how far a tree is; None for a small one."""
    return report_progress(what) if sum(sizes_bytes) >= SHOWN_BYTES else None


def each(
    act: Callable[[Item], Result], items: Collection[Item], progress: Progress | None = None
) -> list[Result]:
    """Return the results, in order, of acting on several items at the same time."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        futures = [pool.submit(act, item) for item in items]
        results = []
        try:
            for future in futures:
                results.append(future.result())
                if progress is not None:
                    progress(len(results), len(futures))
        finally:
            # After a failure the rest is not begun.
            pool.shutdown(cancel_futures=True)
    return results
