"""Every rollout that was trained on, as Parquet: `rollouts/step-000012.parquet`, one per step.

One row is one rollout. Rows of one group stand together and in order, so that any tool for tables
can group them by `group`. Frames are not copied: `row_id` leads to them in the dataset.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assay_api import StoreError, ThinkingMode
from assay_data.store import Store
from assay_trainer.metrics_log import step_key, step_keys
from assay_trainer.records import JudgedSentence, ScoredGroup

_SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("group", pa.int32()),
        ("row_id", pa.string()),
        ("video_id", pa.string()),
        ("label", pa.string()),
        ("generator", pa.string()),
        ("mode", pa.string()),
        ("prompt", pa.string()),
        ("response", pa.string()),
        ("truncated", pa.bool_()),
        ("correct", pa.bool_()),
        ("reward", pa.float64()),
        ("advantage", pa.float64()),
        ("terms", pa.string()),
        ("policy_version", pa.int32()),
        ("num_tokens", pa.int32()),
        ("evidence", pa.string()),
        ("sentences", pa.string()),
        ("token_ends", pa.list_(pa.int32())),
        ("token_advantages", pa.list_(pa.float64())),
    ]
)
_NOT_IN_OLDER_LOGS = ("evidence", "sentences", "token_ends", "token_advantages")
"""Columns without a value in logs of stages that ran before verifiers were there."""


@dataclass(frozen=True, slots=True)
class LoggedRollout:
    """One rollout as it was logged."""

    response: str
    truncated: bool
    correct: bool
    reward: float
    advantage: float
    terms: dict[str, float | None]
    """Weighted reward terms by name; None where the reward abstained."""
    policy_version: int
    num_tokens: int
    sentences: tuple[JudgedSentence, ...] | None = None
    """Verdicts on its reasoning, by characters of the response; None: it was not to be checked."""
    token_ends: tuple[int, ...] | None = None
    """Place after each token's last character, where the reasoning was to be checked."""
    token_advantages: tuple[float, ...] | None = None
    """Of each token, likewise."""


@dataclass(frozen=True, slots=True)
class LoggedGroup:
    """One prompt with its rollouts as they were logged."""

    row_id: str
    video_id: str
    label: str
    generator: str
    mode: ThinkingMode
    prompt: str
    evidence: str
    """What the reasoning was checked against."""
    rollouts: tuple[LoggedRollout, ...]


def write_rollouts(store: Store, step: int, groups: Sequence[ScoredGroup]) -> None:
    """Write the groups of a step into the stage's folder.

    Args:
        store: the stage's folder.
        step: optimiser steps done once these groups are learned from.
        groups: the groups in the order of the batch.
    """
    records = [
        record for number, group in enumerate(groups) for record in _records(step, number, group)
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, _SCHEMA), buffer, compression="zstd")
    store.write(step_key("rollouts", step, "parquet"), buffer.getvalue())


def _records(step: int, number: int, scored: ScoredGroup) -> list[dict[str, object]]:
    prompt = scored.group.prompt
    return [
        {
            "step": step,
            "group": number,
            "row_id": prompt.row_id,
            "video_id": prompt.row.video_id,
            "label": prompt.label,
            "generator": prompt.row.generator,
            "mode": prompt.mode.value,
            "prompt": prompt.text,
            "response": rollout.text,
            "truncated": rollout.truncated,
            "correct": scored.correct[index],
            "reward": scored.rewards[index],
            "advantage": scored.advantages[index],
            "terms": json.dumps({name: values[index] for name, values in scored.terms.items()}),
            "policy_version": rollout.policy_version,
            "num_tokens": len(rollout.token_ids),
            "evidence": prompt.row.evidence,
            **_judged(scored, index),
        }
        for index, rollout in enumerate(scored.group.rollouts)
    ]


def _judged(scored: ScoredGroup, index: int) -> dict[str, object]:
    if scored.judged is None:
        return {}
    judged = scored.judged[index]
    return {
        "sentences": json.dumps([asdict(one) for one in judged.sentences]),
        "token_ends": judged.token_ends,
        "token_advantages": scored.token_advantages[index],
    }


def rollout_steps(store: Store) -> list[int]:
    """Return the steps whose rollouts lie in the stage's folder, in order."""
    return [step for step, _ in step_keys(store, "rollouts")]


def read_rollouts(store: Store, step: int) -> tuple[LoggedGroup, ...]:
    """Return the groups of a step, as they were logged.

    Raises:
        StoreError: the step's file is missing or damaged.
    """
    key = step_key("rollouts", step, "parquet")
    data = store.read(key)
    try:
        records = _completed(pq.read_table(io.BytesIO(data))).cast(_SCHEMA).to_pylist()
    except (pa.ArrowException, ValueError) as error:
        raise StoreError(
            f"{store.url}/{key}: damaged ({error}); delete this file, only the record of its "
            "step's rollouts is lost"
        ) from None
    return tuple(_group(list(members)) for _, members in groupby(records, key=lambda r: r["group"]))


def _completed(table: pa.Table) -> pa.Table:
    """Return a log with the columns that an older one lacks."""
    for name in _NOT_IN_OLDER_LOGS:
        if name not in table.column_names:
            field = _SCHEMA.field(name)
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table


def _group(records: list[dict[str, object]]) -> LoggedGroup:
    first = records[0]
    return LoggedGroup(
        row_id=str(first["row_id"]),
        video_id=str(first["video_id"]),
        label=str(first["label"]),
        generator=str(first["generator"]),
        mode=ThinkingMode(str(first["mode"])),
        prompt=str(first["prompt"]),
        evidence=str(first["evidence"] or ""),
        rollouts=tuple(_rollout(record) for record in records),
    )


_ROLLOUT_FIELDS = tuple(LoggedRollout.__dataclass_fields__)


def _rollout(record: Mapping[str, Any]) -> LoggedRollout:
    fields = {name: record[name] for name in _ROLLOUT_FIELDS}
    fields["terms"] = json.loads(fields["terms"])
    for name in ("token_ends", "token_advantages"):
        fields[name] = None if fields[name] is None else tuple(fields[name])
    if fields["sentences"] is not None:
        judged = json.loads(fields["sentences"])
        fields["sentences"] = tuple(JudgedSentence(**one) for one in judged)
    return LoggedRollout(**fields)
