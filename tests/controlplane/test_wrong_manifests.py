"""Wrong manifests are refused by the API server itself, with a message that says what to do."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from changed_manifests import GONE, PIPELINE, RIGHT, RL, SFT_SPEC, Manifest, changed
from cluster_api import ApiError
from control_plane import ControlPlane

from assay_api.crd.definitions import NAMINGS

CASES = yaml.safe_load(Path(__file__).with_name("wrong_manifests.yaml").read_text())

pytestmark = pytest.mark.usefixtures("assay_crds")


def refusal(control_plane: ControlPlane, manifest: Manifest) -> str:
    """Return why the server refuses a manifest."""
    with pytest.raises(ApiError) as refused:
        control_plane.admin.create(changed(manifest, {"metadata.namespace": "default"}))
    assert refused.value.status in (400, 422)
    return refused.value.message


@pytest.mark.parametrize("name", RIGHT)
def test_manifests_are_right_before_they_are_changed(
    name: str, control_plane: ControlPlane
) -> None:
    placed = changed(RIGHT[name], {"metadata.namespace": "default"})
    made = control_plane.admin.create(placed, dryRun="All")
    assert made["metadata"]["name"] == RIGHT[name]["metadata"]["name"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_a_wrong_manifest_is_refused(case: dict[str, Any], control_plane: ControlPlane) -> None:
    changes = {path: GONE for path in case.get("without", ())} | case.get("with", {})
    assert case["says"] in refusal(control_plane, changed(RIGHT[case["of"]], changes))


def test_there_is_a_wrong_manifest_of_every_kind() -> None:
    assert {RIGHT[case["of"]]["kind"] for case in CASES} == set(NAMINGS)
    assert len({case["case"] for case in CASES}) == len(CASES) >= 40


def test_texts_and_lists_are_bounded(control_plane: ControlPlane) -> None:
    question = changed(RL, {"spec.prompt.question": "q" * 16_385})
    assert "spec.prompt.question: Too long: may not be more than 16384 bytes" in refusal(
        control_plane, question
    )
    stages = [{"name": f"s{i}", "spec": SFT_SPEC} for i in range(33)]
    assert "spec.stages: Too many: 33: must have at most 32 items" in refusal(
        control_plane, changed(PIPELINE, {"spec.stages": stages})
    )


def test_the_largest_pipeline_is_not_too_costly_to_check(control_plane: ControlPlane) -> None:
    variables = [{"name": f"V_{i}", "value": "v" * 4096} for i in range(4)]
    stage = changed(RL, {"spec.podTemplate.env": variables, "spec.prompt.question": "q" * 16_384})
    stages = [{"name": f"s{i}", "spec": stage["spec"]} for i in range(32)]
    placed = changed(PIPELINE, {"spec.stages": stages, "metadata.namespace": "default"})
    made = control_plane.admin.create(placed, dryRun="All")
    assert len(made["spec"]["stages"]) == 32


def test_kubectl_refuses_an_unknown_field_by_itself(kubectl: Any) -> None:
    done = kubectl("apply", "-f", "-", stdin=json.dumps(changed(RL, {"spec.rl.groupSiz": 4})))
    assert done.returncode == 1
    assert 'unknown field "spec.rl.groupSiz"' in done.stderr
