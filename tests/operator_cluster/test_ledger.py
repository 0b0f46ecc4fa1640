"""How often the store is asked, and what is kept of what it told."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from made_objects import DATASET, STAGE, child, conditions, pod, record, seen
from model_store import ModelStore

from assay_api import Completion
from assay_api.hub import PinnedModel
from assay_api.layout import ResourceId
from assay_operator.cluster.ledger import Ledger, newest_checkpoint, recorded_completion

EVALUATION = ResourceId("Evaluation", "after")
ALONE = """
kind: TrainingStage
metadata: {name: alone}
spec: {model: {uri: m}, dataset: clips, sft: {task: Judge, steps: 4}}
"""
SCHEDULED = """
kind: Evaluation
metadata: {name: after}
spec: {model: {uri: m}, dataset: clips, schedule: "0 * * * *"}
"""


class CountingStore(ModelStore):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def exists(self, key: str) -> bool:
        self.asked.append(key)
        return super().exists(key)

    def completions_asked(self, id_: ResourceId) -> int:
        return self.asked.count(id_.completion_key)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def ledger(store: CountingStore) -> Iterator[Ledger]:
    with ThreadPoolExecutor(4) as executor:
        yield Ledger(store, executor)


def finish(store: ModelStore, id_: ResourceId, digest: str = "s") -> None:
    completion = Completion(spec_digest=digest, digest="d", result="model")
    store.keys[id_.completion_key] = completion.model_dump_json(by_alias=True).encode()


def progress(store: ModelStore, step: Any) -> None:
    said = {"step": step, "total": 40, "doing": "", "metrics": {}}
    store.keys[STAGE.progress_key] = json.dumps(said).encode()


def asked_within(
    store: CountingStore, ledger: Ledger, id_: ResourceId, seconds: int, **look: Any
) -> int:
    """Return how often the store was asked about a resource, looked at each second."""
    for second in range(seconds):
        ledger.look(seen(**look), float(second))
    return store.completions_asked(id_)


def test_what_was_not_started_is_asked_for_every_five_minutes(
    store: CountingStore, ledger: Ledger
) -> None:
    # At 0, 300, 600 and 900 s.
    assert asked_within(store, ledger, STAGE, 901, manifests=ALONE) == 4


def test_a_target_that_nobody_applied_is_asked_for_every_ten_seconds(
    store: CountingStore, ledger: Ledger
) -> None:
    assert asked_within(store, ledger, DATASET, 31, manifests=ALONE) == 4


def test_what_was_started_is_asked_for_every_ten_seconds(
    store: CountingStore, ledger: Ledger
) -> None:
    for second in range(31):
        ledger.look(seen(child(), pod(), manifests=ALONE), float(second))
    assert store.completions_asked(STAGE) == 4


def test_what_has_ended_is_asked_for_at_each_look_until_that_is_on_record(
    store: CountingStore, ledger: Ledger
) -> None:
    over = child(status=conditions("Failed"))
    for second in range(5):
        ledger.look(seen(over, manifests=ALONE), float(second))
    assert store.completions_asked(STAGE) == 5
    status = {"attempt": 1, "attempts": [record(1, "application")]}
    for second in range(5, 9):
        ledger.look(seen(over, manifests=ALONE, alone=status), float(second))
    assert store.completions_asked(STAGE) == 5


def test_what_a_finished_stage_recorded_is_known_after_a_restart(ledger: Ledger) -> None:
    status = {
        "specDigest": "d",
        "digest": "m",
        "checkpoint": 40,
        "conditions": [{"type": "Succeeded", "status": "True", "reason": "Completed"}],
    }
    told = ledger.look(seen(manifests=ALONE, alone=status), 0.0)
    assert STAGE in told.finished
    assert told.checkpoints[STAGE] == 40


def test_what_was_finished_is_never_asked_for_again(store: CountingStore, ledger: Ledger) -> None:
    finish(store, STAGE)
    assert asked_within(store, ledger, STAGE, 700, manifests=ALONE) == 1
    assert STAGE in ledger.look(seen(manifests=ALONE), 701.0).finished


def test_a_schedule_is_asked_for_its_newest_result_each_minute(
    store: CountingStore, ledger: Ledger
) -> None:
    finish(store, EVALUATION)
    assert asked_within(store, ledger, EVALUATION, 181, manifests=SCHEDULED) == 4
    finish(store, EVALUATION, "newer")
    found = ledger.look(seen(manifests=SCHEDULED), 240.0).finished[EVALUATION]
    assert found.completion.spec_digest == "newer"


def test_a_result_of_a_checkpoint_is_the_newest_and_no_proof(
    store: CountingStore, ledger: Ledger
) -> None:
    newest = Completion(spec_digest="s", digest="step-4", result="results/a")
    store.keys[EVALUATION.newest_key] = newest.model_dump_json(by_alias=True).encode()
    found = ledger.look(seen(manifests=SCHEDULED), 0.0)
    assert (found.newest, found.finished) == ({EVALUATION: newest}, {})
    del store.keys[EVALUATION.newest_key]
    assert ledger.look(seen(manifests=SCHEDULED), 59.0).newest == {EVALUATION: newest}
    assert ledger.look(seen(manifests=SCHEDULED), 60.0).newest == {}


def test_what_its_status_says_is_done_needs_no_store(store: CountingStore, ledger: Ledger) -> None:
    store.away = True
    status = {
        **conditions("Succeeded"),
        "specDigest": "s",
        "modelDigest": "m",
        "modelUri": "s3://bucket/team/stages/alone/final/model",
    }
    found = ledger.look(seen(manifests=ALONE, alone=status), 0.0)
    assert found.finished[STAGE].completion == Completion(
        spec_digest="s", digest="m", result="final/model"
    )
    assert found.unknown == {DATASET}
    assert store.completions_asked(STAGE) == 0


def test_finished_as_something_else_may_be_deleted_in_the_store(
    store: CountingStore, ledger: Ledger
) -> None:
    finish(store, STAGE)
    ledger.look(seen(manifests=ALONE), 0.0)
    refused = conditions("Failed", reason="SpecChanged")
    assert STAGE in ledger.look(seen(manifests=ALONE, alone=refused), 10.0).finished
    store.keys.clear()
    assert STAGE in ledger.look(seen(manifests=ALONE, alone=refused), 19.0).finished
    assert STAGE not in ledger.look(seen(manifests=ALONE, alone=refused), 20.0).finished


def test_a_store_that_is_away_leaves_unknown_what_was_not_known(
    store: CountingStore, ledger: Ledger
) -> None:
    finish(store, DATASET)
    ledger.look(seen(manifests=ALONE), 0.0)
    store.away = True
    found = ledger.look(seen(manifests=ALONE), 300.0)
    assert (found.unknown, set(found.finished)) == ({STAGE}, {DATASET})
    assert ledger.problems == {STAGE: "the store is away"}
    # It is asked again at once, not in five minutes.
    store.away = False
    finish(store, STAGE)
    found = ledger.look(seen(manifests=ALONE), 301.0)
    assert (found.unknown, set(found.finished)) == (frozenset(), {DATASET, STAGE})
    assert ledger.problems == {}


FUSION = ALONE.replace("sft: {task: Judge, steps: 4}", "fusion: {steps: 4}")


@pytest.mark.parametrize(
    ("key", "content"),
    [
        (STAGE.completion_key, b"{"),
        (STAGE.progress_key, b'{"step": -1, "total": 4, "doing": "", "metrics": {}}'),
        (STAGE.progress_key, b'{"step": 1e400, "total": 4, "doing": "", "metrics": {}}'),
        ("stages/alone/collected.json", b"[]"),
        ("stages/alone/collected.json", b"\xff"),
        ("stages/alone/collected.json", b"{}"),
    ],
)
def test_a_damaged_record_makes_only_its_resource_unknown(
    store: CountingStore, ledger: Ledger, key: str, content: bytes
) -> None:
    store.keys[key] = content
    found = ledger.look(seen(manifests=FUSION), 0.0)
    assert found.unknown == {STAGE}
    assert f"s3://bucket/team/{key} is damaged" in ledger.problems[STAGE]


def test_steps_know_since_when_they_stand(store: CountingStore, ledger: Ledger) -> None:
    def look(now: float) -> tuple[int, float, int | None]:
        found = ledger.look(seen(child(), pod(), manifests=ALONE), now)
        return found.steps[STAGE], found.still_since[STAGE], found.checkpoints.get(STAGE)

    progress(store, 3)
    assert look(0.0) == (3, 0.0, None)
    assert look(10.0) == (3, 0.0, None)
    store.keys["stages/alone/checkpoints/step-000004/checkpoint.json"] = b""
    progress(store, 4)
    assert look(20.0) == (4, 20.0, 4)


def test_collected_samples_are_remembered(store: CountingStore, ledger: Ledger) -> None:
    store.keys["stages/alone/collected.json"] = b'{"identity": "i"}'
    assert ledger.look(seen(manifests=ALONE), 0.0).collected == {}
    assert ledger.look(seen(manifests=FUSION), 20.0).collected == {}
    assert ledger.look(seen(manifests=FUSION), 320.0).collected == {STAGE: "i"}


def test_what_is_gone_is_forgotten(store: CountingStore, ledger: Ledger) -> None:
    finish(store, STAGE)
    assert STAGE in ledger.look(seen(manifests=ALONE), 0.0).finished
    assert ledger.look(seen(manifests=SCHEDULED), 1.0).finished == {}
    store.keys.clear()
    assert STAGE not in ledger.look(seen(manifests=ALONE), 2.0).finished


def test_two_thousand_stages_ask_the_store_no_more_than_they_must(
    store: CountingStore, ledger: Ledger
) -> None:
    stages = "\n---\n".join(ALONE.replace("alone", f"s{i}") for i in range(2000))
    world = seen(manifests=stages)
    ledger.look(world, 0.0)
    # Completion and progress of each stage; the dataset that all of them name, once.
    assert len(store.asked) == 2000 * 2 + 1
    store.asked.clear()
    for second in range(15, 300, 15):
        ledger.look(world, float(second))
    assert len(store.asked) == 19
    done = {f"s{i}": {**conditions("Succeeded"), "specDigest": "s"} for i in range(2000)}
    store.asked.clear()
    with ThreadPoolExecutor(1) as executor:
        Ledger(store, executor).look(seen(manifests=stages, **done), 0.0)
    assert store.asked == [DATASET.completion_key]


def test_the_newest_checkpoint_is_the_highest_one_that_is_complete() -> None:
    keys = ["c/step-000900/checkpoint.json", "c/step-001000/checkpoint.json", "c/step-2000/x.pt"]
    assert newest_checkpoint(keys) == 1000
    assert newest_checkpoint([]) is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, None),
        ({"specDigest": "s"}, None),
        (conditions("Ready"), None),
        (conditions("Succeeded"), None),
        (
            {**conditions("Succeeded"), "specDigest": "s"},
            Completion(spec_digest="s", digest="", result="."),
        ),
        (
            {
                **conditions("Succeeded"),
                "specDigest": "s",
                "digest": "d",
                "result": "s3://bucket/team/evaluations/after/report",
                "accuracy": {"Think": 0.5, "Forged": 1.0},
                "numRows": 3,
            },
            Completion(
                spec_digest="s",
                digest="d",
                result="report",
                summary={"accuracy/think": 0.5, "numRows": 3},
            ),
        ),
    ],
)
def test_a_completion_is_read_back_from_a_status(
    status: dict[str, Any], expected: Completion | None
) -> None:
    raw = {"kind": "Evaluation", "metadata": {"name": "after"}, "status": status}
    assert recorded_completion(raw, "s3://bucket/team") == expected


def test_the_commit_of_a_model_of_the_hub_is_asked_for_until_it_is_noted(
    store: CountingStore, ledger: Ledger
) -> None:
    manifests = ALONE.replace("uri: m", "uri: hf://a/model")
    pin = PinnedModel(uri="hf://a/model", commit="c" * 40)

    assert ledger.look(seen(manifests=manifests), 0.0).pins == {}
    store.keys[STAGE.pin_key] = pin.model_dump_json(by_alias=True).encode()
    assert ledger.look(seen(manifests=manifests), 301.0).pins == {STAGE: pin}
    asked = store.asked.count(STAGE.pin_key)
    assert ledger.look(seen(manifests=manifests), 602.0).pins == {STAGE: pin}
    assert store.asked.count(STAGE.pin_key) == asked == 2


@pytest.mark.parametrize(("commit", "known"), [("c" * 40, True), ("main", False), (None, False)])
def test_after_a_restart_the_status_tells_the_commit(
    store: CountingStore, ledger: Ledger, commit: str | None, known: bool
) -> None:
    manifests = ALONE.replace("uri: m", "uri: hf://a/model")
    status = {"sourceCommit": commit, **conditions("Progressing")}

    pins = ledger.look(seen(manifests=manifests, alone=status), 0.0).pins

    assert (pins == {STAGE: PinnedModel(uri="hf://a/model", commit="c" * 40)}) is known
    assert bool(pins) is known
