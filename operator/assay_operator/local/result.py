"""The end of a run in words: a table, plain values, and what went wrong."""

from collections.abc import Sequence
from typing import Any

from assay_api.errors import InvalidInput, WorkloadError
from assay_operator.conditions import Reason, State
from assay_operator.local.loop import ResourceResult, RunResult
from assay_operator.local.show import numbers_text

_HEADINGS = ("RESOURCE", "STATE", "SECONDS", "SUMMARY")


def table(result: RunResult) -> str:
    """Return a table of all resources: state, seconds in this run, summary."""
    rows = [_HEADINGS, *(_row(found, result.interrupted) for found in result.resources)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    )


def _row(found: ResourceResult, interrupted: bool) -> tuple[str, str, str, str]:
    seconds = "-" if found.seconds is None else f"{found.seconds:.0f}"
    if found.completion and found.verdict.state is State.SUCCEEDED:
        summary = numbers_text(found.completion.summary)
    else:
        reason, message = found.verdict.reason, found.verdict.message
        summary = f"{reason}: {message}" if message else str(reason)
    return str(found.resource), _state(found, interrupted), seconds, summary


def _state(found: ResourceResult, interrupted: bool) -> str:
    if interrupted and found.verdict.state is State.PENDING and found.seconds is not None:
        return "Interrupted"
    return str(found.verdict.state)


def plain(result: RunResult) -> dict[str, Any]:
    """Return the result as plain values, for JSON."""
    return {
        "interrupted": result.interrupted,
        "resources": [
            {
                "kind": found.resource.kind,
                "name": found.resource.name,
                "state": _state(found, result.interrupted),
                "reason": str(found.verdict.reason),
                "message": found.verdict.message,
                "seconds": found.seconds,
                "summary": found.completion.summary if found.completion else {},
            }
            for found in result.resources
        ],
    }


def raise_if_unfinished(result: RunResult, store_url: str) -> None:
    """Return if everything is as wanted; what is suspended is meant to rest.

    Raises:
        InvalidInput: all that failed was refused its input.
        WorkloadError: something failed, or waits for what will not come by itself.
    """
    unfinished = [found for found in result.resources if not _is_fine(found)]
    if not unfinished:
        return
    failed = [found for found in unfinished if found.verdict.state is State.FAILED]
    lines = [f"{found.resource}: {found.verdict.message}" for found in failed or unfinished]
    if failed and all(found.verdict.reason is Reason.INPUT_REFUSED for found in failed):
        raise InvalidInput("\n".join(lines))
    lines.append(
        f"what is finished, and the last checkpoint of what is not, is kept in {store_url}"
    )
    lines.append("mend the cause (see the log above) and give the same command: it goes on")
    raise WorkloadError("\n".join(lines))


def _is_fine(found: ResourceResult) -> bool:
    fine_states: Sequence[State] = (State.SUCCEEDED, State.STOPPED, State.READY)
    return found.verdict.state in fine_states or found.verdict.reason is Reason.SUSPENDED
