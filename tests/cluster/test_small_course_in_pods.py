"""Small stages in pods: suspend and resume, reasons, rights."""

import pytest
from cluster_api import ApiError
from cluster_user import User
from installed_assay import NAMESPACE as SYSTEM_NAMESPACE
from project_images import host_image
from small_course import sft

STEPS = 80
"""More than are done while an operator passes on that a stage is to rest."""
BROKEN_IMAGE = "assay.test/assay-trainer:breaks"
BREAKS = {
    "breaks/sitecustomize.py": """
import sys
if "--stage" in sys.orig_argv and "torch.distributed.run" not in sys.orig_argv:
    from torch.optim.optimizer import register_optimizer_step_post_hook
    steps = []
    def hook(*_):
        steps.append(1)
        if len(steps) == 4:
            raise RuntimeError("made to fail")
    register_optimizer_step_post_hook(hook)
"""
}
"""A trainer that fails in its fourth step, whatever it was given."""


def test_a_suspended_stage_saves_first_and_goes_on_at_the_same_step(user: User) -> None:
    user.apply(sft("rests", STEPS, every=1000))
    user.suspend("rests", at_step=2)
    user.resume("rests")
    user.apply(sft("goes-through", STEPS, every=1000))
    user.wait_for("TrainingStage", "goes-through")
    # To the last bit.
    assert user.digest("rests") == user.digest("goes-through")


def test_an_image_that_does_not_exist_blocks_and_says_which(user: User) -> None:
    image = "assay.test/nowhere:1"
    user.apply(sft("no-image", steps=5, more=f"podTemplate: {{image: {image}}}"))
    found = user.wait_for("TrainingStage", "no-image", "Blocked", "ImagePull", seconds=60)
    assert image in found["message"]
    user.kubectl("delete", "tstage", "no-image")


def test_no_room_blocks_and_says_what_is_asked_for_and_what_there_is(user: User) -> None:
    user.apply(sft("no-room", steps=5, more="").replace("precision:", "pool: huge, precision:"))
    found = user.wait_for("TrainingStage", "no-room", "Blocked", "Unschedulable", seconds=60)
    assert "asks for cpu 32" in found["message"] and "Insufficient cpu" in found["message"]
    explained = user.explain("tstage/no-room")
    assert "assay-node" in explained and "cpu 2" in explained
    user.kubectl("delete", "tstage", "no-room")


def test_the_same_error_at_the_same_step_ends_the_stage_as_its_own_fault(user: User) -> None:
    user.cluster.load([host_image([BROKEN_IMAGE], texts=BREAKS, python_path="/breaks")])
    more = f"retry: {{application: 1}}\npodTemplate: {{image: {BROKEN_IMAGE}}}"
    user.apply(sft("comes-apart", steps=9, every=50, more=more))
    user.wait_for("TrainingStage", "comes-apart", "Failed", "RetriesExhausted", seconds=400)
    status = user.status("TrainingStage", "comes-apart")
    assert [a["failure"] for a in status["attempts"]] == ["application"] * 2
    assert [(a["step"], a["exitCode"]) for a in status["attempts"]] == [(3, 1)] * 2
    message = user.condition("TrainingStage", "comes-apart", "Failed")["message"]
    assert "attempt 2 ended (exit code 1) at step 3" in message
    # The command that it names shows what went wrong.
    _, _, command = message.partition("its log: kubectl ")
    assert "made to fail" in user.kubectl(*command.split())


def test_a_pod_cannot_read_the_keys_of_others(user: User) -> None:
    plane = user.cluster.control_plane
    stranger = plane.client_of("default", "stranger")
    for namespace in (user.namespace, SYSTEM_NAMESPACE):
        with pytest.raises(ApiError) as refused:
            stranger.get("v1", "Secret", "assay-store", namespace)
        assert refused.value.status == 403
    # Pods of workloads have no token to begin with.
    for pod in user.pods():
        assert pod["spec"]["automountServiceAccountToken"] is False
