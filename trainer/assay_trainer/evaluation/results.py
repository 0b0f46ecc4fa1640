"""The results of an evaluation with a schedule: one file each, and which of them is the newest.

    results/step-000018-1a2b3c4d5e6f.json    of a checkpoint; 1a2b... is of evaluation and model
    results/final-6f5e4d3c2b1a.json          of the stage's finished model
    result.json, newest.json                 the newest: the whole, and what a status shows of it
    completion.json                          of the finished model only: what gates look at

A result is written once and never changed; the rest can be made again out of the results.
"""

from collections.abc import Sequence

from assay_api import Completion
from assay_data.store import Store
from assay_trainer.evaluation.summary import (
    EvaluationResult,
    Summary,
    Watched,
    from_json,
    shown,
    to_json,
)

FOLDER = "results"
"""Where they lie in an evaluation's folder."""


def read_results(store: Store) -> list[EvaluationResult]:
    """Return all results in an evaluation's folder, by training step, the finished model last.

    Raises:
        StoreError: the store cannot be read, or a file is damaged.
    """
    keys = [key for key in store.list(FOLDER) if key.endswith(".json")]
    found = [from_json(store.read(key), f"{store.url}/{key}") for key in keys]
    return sorted((result for result in found if result.watched), key=_age)


def write_result(
    store: Store, model_digest: str, watched: Watched, summary: Summary
) -> EvaluationResult:
    """Write a result and return it.

    Raises:
        StoreError: it cannot be written; earlier results are as they were.
    """
    result = EvaluationResult(model_digest=model_digest, watched=watched, summary=summary)
    store.write(_key(watched), to_json(result))
    return result


def show(store: Store, results: Sequence[EvaluationResult]) -> None:
    """Let the evaluation's folder say what the newest of some results says.

    Args:
        store: the evaluation's folder.
        results: those of one training of the stage; none: nothing is changed.

    Raises:
        StoreError: the store cannot be read or written.
    """
    if not results:
        return
    newest = max(results, key=_age)
    assert newest.watched is not None, "only such results are read"
    short = _short(newest, newest.watched)
    _write_if_new(store, "result.json", to_json(newest))
    _write_if_new(store, "newest.json", short)
    if newest.watched.is_final:
        _write_if_new(store, "completion.json", short)


def _short(result: EvaluationResult, watched: Watched) -> bytes:
    step = {} if watched.step is None else {"step": watched.step}
    completion = Completion(
        spec_digest=watched.spec_digest,
        digest=result.model_digest or "",
        result=_key(watched),
        summary={**shown(result.summary), **step, "evaluated_at": watched.evaluated_at},
    )
    return completion.model_dump_json(by_alias=True, indent=1).encode()


def _age(result: EvaluationResult) -> tuple[bool, int, str]:
    watched = result.watched
    assert watched is not None, "only such results are read"
    return watched.is_final, watched.step or 0, watched.evaluated_at


def _key(watched: Watched) -> str:
    what = "final" if watched.is_final else f"step-{watched.step or 0:06d}"
    return f"{FOLDER}/{what}-{watched.spec_digest[:12]}.json"


def _write_if_new(store: Store, key: str, data: bytes) -> None:
    if not store.exists(key) or store.read(key) != data:
        store.write(key, data)
