"""What the definitions do on a real API server: defaults, what may change, what kubectl shows."""

from typing import Any

import pytest
from changed_manifests import DATASET, EVALUATION, PIPELINE, RIGHT, RL, Manifest, changed
from cluster_api import ApiError, ClusterApi
from control_plane import ControlPlane

from assay_api.base import Condition
from assay_api.crd.definitions import NAMINGS, SCHEMA_DIGEST, schema_digest
from assay_api.manifests import KINDS

pytestmark = pytest.mark.usefixtures("assay_crds")

LAST_CHANGE = "2026-03-01T12:00:00Z"


@pytest.fixture
def api(control_plane: ControlPlane) -> ClusterApi:
    return control_plane.admin


def condition(kind: str, reason: str, holds: bool = True) -> dict[str, Any]:
    made = Condition(
        type=kind,
        status="True" if holds else "False",
        reason=reason,
        message="as a test says",
        last_transition_time=LAST_CHANGE,
    )
    return made.model_dump(mode="json", by_alias=True)


def create(api: ClusterApi, manifest: Manifest, namespace: str) -> Manifest:
    return api.create(changed(manifest, {"metadata.namespace": namespace}))


def started(api: ClusterApi, manifest: Manifest, namespace: str) -> Manifest:
    """Create a resource and report its first attempt."""
    made = create(api, manifest, namespace)
    api.patch(made, {"status": {"attempt": 1}}, subresource="status")
    return made


def test_the_server_holds_the_schema_that_the_models_say(api: ClusterApi) -> None:
    for kind, naming in NAMINGS.items():
        found = api.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", naming.crd)
        assert found["metadata"]["annotations"][SCHEMA_DIGEST] == schema_digest(kind)
        assert found["spec"]["names"]["categories"] == ["assay"]
        conditions = {c["type"]: c["status"] for c in found["status"]["conditions"]}
        assert conditions == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("name", RIGHT)
def test_the_server_fills_in_the_defaults_of_the_models(
    name: str, api: ClusterApi, namespace: str
) -> None:
    manifest = changed(RIGHT[name], {"metadata.namespace": namespace})
    model = KINDS[manifest["kind"]]
    made = api.create(manifest, dryRun="All")
    assert "status" not in made
    written = model.model_validate(manifest).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    assert made["spec"] == written["spec"]


def test_numbers_and_defaults_that_come_back_have_the_same_meaning(
    api: ClusterApi, namespace: str
) -> None:
    made = create(api, changed(RL, {"spec.rl.optimizer": {"learningRate": 1e-5}}), namespace)
    found = KINDS["TrainingStage"].model_validate(made)
    sent = KINDS["TrainingStage"].model_validate(
        changed(RL, {"spec.rl.optimizer": {"learningRate": 1e-5}})
    )
    assert found.spec == sent.spec


def test_what_is_trained_may_change_until_the_first_attempt(
    api: ClusterApi, namespace: str
) -> None:
    made = create(api, RL, namespace)
    assert api.patch(made, {"spec": {"rl": {"steps": 9}}})["spec"]["rl"]["steps"] == 9
    api.patch(made, {"status": {"attempt": 0, "step": 0}}, subresource="status")
    assert api.patch(made, {"spec": {"rl": {"steps": 10}}})["spec"]["rl"]["steps"] == 10


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"rl": {"steps": 9}}, ["spec.rl"]),
        ({"seed": 1}, ["spec.seed"]),
        ({"dataset": "others", "prompt": {"question": "Fake?"}}, ["spec.dataset", "spec.prompt"]),
        ({"lora": {"rank": 8}}, ["spec.lora"]),
        ({"placement": {"learners": 2, "pool": "big"}}, ["spec.placement.learners"]),
        ({"model": {"uri": "s3://models/other"}}, ["spec.model"]),
        ({"rewards": [{"type": "Accuracy"}]}, ["spec.rewards"]),
    ],
    ids=str,
)
def test_what_is_trained_may_not_change_after_it(
    changes: dict[str, Any], fields: list[str], api: ClusterApi, namespace: str
) -> None:
    made = started(api, RL, namespace)
    with pytest.raises(ApiError) as refused:
        api.patch(made, {"spec": changes})
    for field in fields:
        assert (
            f"{field}: Invalid value: {field} can't be changed any more, the stage was started: "
            "apply it under another name, or delete this one first"
        ) in refused.value.message
    assert refused.value.message.count("any more") == len(fields)


def test_when_and_where_it_is_trained_may_change(api: ClusterApi, namespace: str) -> None:
    made = started(api, RL, namespace)
    free = {
        "suspend": True,
        "retry": {"application": 3},
        "checkpoint": {"every": 5, "keep": 9},
        "gate": [{"evaluation": "held-out", "minAccuracy": 0.5}],
        "placement": {"pool": "big"},
        "podTemplate": {"image": "trainer:2", "labels": {"team": "a"}},
    }
    api.patch(made, {"spec": free})
    found = api.get("assay.dev/v1alpha1", "TrainingStage", "foundation", namespace)
    assert found["spec"]["placement"]["pool"] == "big"
    assert found["spec"]["suspend"] is True


def test_a_stage_that_was_found_finished_does_not_change_either(
    api: ClusterApi, namespace: str
) -> None:
    made = create(api, RL, namespace)
    status = {"conditions": [condition("Succeeded", "Completed")]}
    api.patch(made, {"status": status}, subresource="status")
    with pytest.raises(ApiError, match=r"spec\.rl can't be changed any more"):
        api.patch(made, {"spec": {"rl": {"steps": 9}}})


@pytest.mark.parametrize(
    ("manifest", "changes", "field"),
    [
        (DATASET, {"frames": {"count": 8}}, "spec.frames"),
        (EVALUATION, {"maxClips": 8}, "spec.maxClips"),
    ],
    ids=["Dataset", "Evaluation"],
)
def test_datasets_and_evaluations_do_not_change_after_their_first_attempt(
    manifest: Manifest, changes: dict[str, Any], field: str, api: ClusterApi, namespace: str
) -> None:
    made = started(api, manifest, namespace)
    with pytest.raises(ApiError) as refused:
        api.patch(made, {"spec": changes})
    assert f"{field} can't be changed any more" in refused.value.message


def test_the_schedule_of_an_evaluation_may_change(api: ClusterApi, namespace: str) -> None:
    made = started(api, EVALUATION, namespace)
    patched = api.patch(made, {"spec": {"schedule": "0 4 * * *"}})
    assert patched["spec"]["schedule"] == "0 4 * * *"


def test_a_status_is_written_on_its_own_and_its_conditions_are_merged_by_type(
    api: ClusterApi, namespace: str
) -> None:
    made = create(api, RL, namespace)
    path = api.path("assay.dev/v1alpha1", "TrainingStage", namespace, "foundation")
    named = {name: made[name] for name in ("apiVersion", "kind")} | {
        "metadata": {"name": "foundation", "namespace": namespace}
    }
    for manager, kind in (("one", "Ready"), ("two", "Blocked")):
        body = {**named, "status": {"conditions": [condition(kind, "Due")]}}
        api.request(
            "PATCH", f"{path}/status", body, "application/apply-patch+yaml", fieldManager=manager
        )
    found = api.get("assay.dev/v1alpha1", "TrainingStage", "foundation", namespace)
    assert [c["type"] for c in found["status"]["conditions"]] == ["Ready", "Blocked"]
    assert found["status"]["conditions"][0]["lastTransitionTime"] == LAST_CHANGE
    assert found["metadata"]["generation"] == 1
    # The status is not written with the rest.
    patched = api.patch(made, {"status": {"attempt": 7}})
    assert patched["status"]["attempt"] == 0


def test_a_finalizer_can_be_removed_from_a_started_stage(api: ClusterApi, namespace: str) -> None:
    held = changed(RL, {"metadata.finalizers": ["assay.dev/finalizer"]})
    made = started(api, held, namespace)
    api.delete(made)
    api.patch(made, {"metadata": {"finalizers": []}})
    assert api.find("assay.dev/v1alpha1", "TrainingStage", "foundation", namespace) is None


def test_kubectl_get_reads_well(api: ClusterApi, namespace: str, kubectl: Any) -> None:
    made = create(api, RL, namespace)
    status = {
        "attempt": 2,
        "step": 12,
        "totalSteps": 400,
        "checkpoint": 9,
        "conditions": [condition("Blocked", "Other"), condition("Ready", "Running", holds=False)],
    }
    api.patch(made, {"status": status}, subresource="status")
    shown = kubectl("get", "tstage", "--namespace", namespace).stdout.splitlines()
    assert shown[0].split() == [
        *("NAME", "ATTEMPT", "STEP", "TOTAL", "REASON", "CHECKPOINT", "AGE")
    ]
    assert shown[1].split()[:-1] == ["foundation", "2", "12", "400", "Running", "9"]
    wide = kubectl("get", "tstage", "--namespace", namespace, "--output", "wide").stdout
    assert "as a test says" in wide


def test_kubectl_get_shows_accuracies(api: ClusterApi, namespace: str, kubectl: Any) -> None:
    made = create(api, changed(EVALUATION, {"spec.schedule": "0 4 * * *"}), namespace)
    status = {
        "accuracy": {"Think": 0.984375, "NoThink": 0.5},
        "step": 27,
        "conditions": [condition("Ready", "Completed")],
    }
    api.patch(made, {"status": status}, subresource="status")
    shown = kubectl("get", "teval", "--namespace", namespace).stdout.splitlines()
    assert shown[0].split() == ["NAME", "REASON", "THINK", "NOTHINK", "STEP", "SCHEDULE", "AGE"]
    assert shown[1].split()[:5] == ["held-out", "Completed", "0.984375", "0.5", "27"]


def test_kubectl_knows_short_names_and_the_category(
    api: ClusterApi, namespace: str, kubectl: Any
) -> None:
    for manifest in (RL, PIPELINE, DATASET, EVALUATION):
        create(api, manifest, namespace)
    create(api, RIGHT["judge"], namespace)
    found = kubectl("get", "assay", "--namespace", namespace, "--output", "name").stdout.split()
    assert sorted(found) == [
        "dataset.assay.dev/clips",
        "evaluation.assay.dev/held-out",
        "rewardmodel.assay.dev/judge",
        "trainingpipeline.assay.dev/two",
        "trainingstage.assay.dev/foundation",
    ]
    short = [naming.short for naming in NAMINGS.values()]
    listed = kubectl("get", ",".join(short), "--namespace", namespace, "--output", "name").stdout
    assert sorted(listed.split()) == sorted(found)


def test_kubectl_explain_tells_meaning_and_default(kubectl: Any) -> None:
    told = kubectl("explain", "trainingstage.spec.rl.groupSize").stdout
    assert "Rollouts of each prompt. Default: 8." in " ".join(told.split())
