"""Models of the Hub: a resource goes on with the commit that it has noted."""

from dataclasses import replace
from pathlib import Path

import pytest

from assay_api import Completion, ResolvedEvaluationJob, ResolvedModel, ResolvedStageJob
from assay_api.digest import evaluation_digest, stage_digest
from assay_api.errors import StoreError
from assay_api.hub import PinnedModel
from assay_api.layout import ResourceId
from assay_api.manifests import parse_manifests
from assay_api.references import identify
from assay_operator.commands import serve_arguments
from assay_operator.observed import Attempt, Finished, Observed, ServeOrders
from assay_operator.policies.collection import must_collect
from assay_operator.reconcile import reconcile
from assay_operator.records import read_pins
from assay_operator.workloads import serve_workload, stage_workload

COMMIT, MOVED = "a" * 40, "b" * 40
URI = "hf://Qwen/Qwen2.5-VL-7B-Instruct"
DATASET = ResourceId("Dataset", "clips")
STAGE = ResourceId("TrainingStage", "fuse")
EVALUATION = ResourceId("Evaluation", "base")
JUDGE = ResourceId("RewardModel", "sophia")
TEXT = f"""
kind: Dataset
metadata: {{name: clips}}
spec: {{source: {{synthetic: {{}}}}}}
---
kind: TrainingStage
metadata: {{name: fuse}}
spec: {{model: {{uri: "{URI}"}}, dataset: clips, fusion: {{steps: 4}}}}
---
kind: Evaluation
metadata: {{name: base}}
spec: {{model: {{uri: "{URI}"}}, dataset: clips}}
---
kind: RewardModel
metadata: {{name: sophia}}
spec: {{model: {{uri: "hf://bunny127/SophiaVL-R1-Thinking-Reward-Model-3B@main"}}}}
"""
PIN = PinnedModel(uri=URI, commit=COMMIT)


@pytest.fixture
def world() -> Observed:
    resources = {identify(found): found for found in parse_manifests(TEXT, "text.yaml")}
    finished = {DATASET: Finished(Completion(spec_digest="s", digest="clips-digest", result="."))}
    return Observed("s3://store", 100.0, resources, finished, on_cluster=True)


def noted(world: Observed, pin: PinnedModel = PIN) -> Observed:
    return replace(world, pins={STAGE: pin, EVALUATION: pin})


def finished(world: Observed, id_: ResourceId, digest: str) -> Observed:
    done = Finished(Completion(spec_digest=digest, digest="d", result="model"))
    return replace(world, finished={**world.finished, id_: done})


def test_the_next_attempt_is_told_the_commit(world: Observed) -> None:
    stage = world.resources[STAGE]

    for observed, expected in (
        (world, ResolvedModel(uri=URI)),
        (noted(world), ResolvedModel(uri=f"{URI}@{COMMIT}", digest=COMMIT)),
        # It was noted for what the spec named before.
        (noted(world, PinnedModel(uri=f"{URI}@v1", commit=COMMIT)), ResolvedModel(uri=URI)),
    ):
        orders = stage_workload(stage, observed).orders
        assert isinstance(orders, ResolvedStageJob)
        assert orders.model == expected
    (workload,) = reconcile(world.resources[EVALUATION], noted(world)).apply
    assert isinstance(workload.orders, ResolvedEvaluationJob)
    assert workload.orders.model == ResolvedModel(uri=f"{URI}@{COMMIT}", digest=COMMIT)


def test_the_commit_is_in_the_status_and_what_is_finished_is_compared_by_it(
    world: Observed,
) -> None:
    stage, evaluation = world.resources[STAGE], world.resources[EVALUATION]
    done = noted(finished(world, STAGE, stage_digest(stage.spec, COMMIT, "clips-digest")))
    done = finished(done, EVALUATION, evaluation_digest(evaluation.spec, COMMIT, "clips-digest"))

    for resource in (stage, evaluation):
        status = reconcile(resource, done).status
        assert status.is_true("Succeeded")
        assert status.source_commit == COMMIT
        assert reconcile(resource, world).status.source_commit is None
        moved = noted(done, PinnedModel(uri=URI, commit=MOVED))
        assert reconcile(resource, moved).status.condition("Failed").reason == "SpecChanged"


def test_samples_of_the_noted_commit_are_not_collected_again(world: Observed) -> None:
    stage = world.resources[STAGE]
    samples = {STAGE: stage_digest(stage.spec, COMMIT, "clips-digest")}

    assert must_collect(stage, replace(world, collected=samples))
    assert not must_collect(stage, noted(replace(world, collected=samples)))


def test_a_judge_notes_its_commit_and_is_not_started_anew_for_it(world: Observed) -> None:
    judge = world.resources[JUDGE]
    seen = replace(
        world,
        pins={JUDGE: PinnedModel(uri=judge.spec.model.uri, commit=COMMIT)},
        attempts={JUDGE: (Attempt(1, 0.0, url="http://judge"),)},
    )

    orders = serve_workload(judge, world).orders

    assert isinstance(orders, ServeOrders)
    assert orders == serve_workload(judge, seen).orders
    arguments = serve_arguments(orders, host="h", port=1, on_gpu=False)
    model, pin = arguments.index("--model"), arguments.index("--pin")
    assert arguments[model + 1] == judge.spec.model.uri
    assert arguments[pin + 1] == "s3://store/reward-models/sophia"
    assert reconcile(judge, seen).status.source_commit == COMMIT


def test_notes_are_read_from_the_store_and_a_damaged_one_is_named(
    world: Observed, tmp_path: Path
) -> None:
    from assay_data.store import open_store

    store = open_store(str(tmp_path))
    assert read_pins(store, world.resources) == {}
    store.write(STAGE.pin_key, PIN.model_dump_json(by_alias=True).encode())
    assert read_pins(store, world.resources) == {STAGE: PIN}
    store.write(STAGE.pin_key, b'{"uri": "x", "commit": "main"}')
    assert read_pins(store, world.resources, {STAGE: PIN}) == {STAGE: PIN}
    with pytest.raises(StoreError, match=r"fuse/model-pin\.json is damaged"):
        read_pins(store, world.resources)
