"""Containers leave the end of their log as their last words: failures are classified by it."""

from pathlib import Path
from typing import Any

from assay_api.manifests import load
from assay_api.references import identify
from assay_operator.children.build import build_children
from assay_operator.children.owner import Owner
from assay_operator.platform_file import load_platform
from assay_operator.policies.evidence import evidence_of
from assay_operator.preview import preview

TORCHRUN = """
Root Cause (first observed failure):
  rank      : 0 (local_rank: 0)
  exitcode  : 2 (pid: 7)
"""
"""The end of what torch.distributed.run logs; it ends with 1 whatever its worker ended with."""


def containers(value: Any) -> list[dict[str, Any]]:
    """Return all containers in a manifest, wherever they are."""
    if isinstance(value, list):
        return [found for part in value for found in containers(part)]
    if not isinstance(value, dict):
        return []
    own = [c for name in ("containers", "initContainers") for c in value.get(name) or []]
    return [*own, *(found for part in value.values() for found in containers(part))]


def test_every_container_leaves_the_end_of_its_log(root: Path) -> None:
    resources = load([str(root / "manifests/recipes/busterx-plusplus/tiny")])
    platform = load_platform(None)
    made = {
        manifest["kind"]: containers(manifest)
        for resource in resources
        for workload in preview(resource, resources, platform.store.url)
        for manifest in build_children(workload, Owner(identify(resource), "a", ""), platform)
    }
    policies = {
        kind: {container.get("terminationMessagePolicy") for container in found}
        for kind, found in made.items()
        if found
    }
    kept = {"FallbackToLogsOnError"}
    assert policies == {"PyTorchJob": kept, "RayJob": kept, "Job": kept, "Deployment": kept}


def test_wrong_input_under_torchrun_is_not_tried_again() -> None:
    job = {
        "kind": "PyTorchJob",
        "metadata": {"name": "base-a1"},
        "status": {"conditions": [{"type": "Failed", "status": "True", "message": "failed"}]},
    }
    end = {"exitCode": 1, "message": TORCHRUN, "finishedAt": "2026-01-02T03:04:05Z"}
    pod = {
        "metadata": {"name": "base-a1-master-0"},
        "status": {"containerStatuses": [{"name": "pytorch", "state": {"terminated": end}}]},
    }
    assert evidence_of(job, [pod]).failure == "input"
