"""Every manifest that is shipped is applied to a real API server, as a user would."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(
    {
        p.parent
        for part in ("recipes", "samples")
        for p in (ROOT / "manifests" / part).rglob("*.yaml")
    }
)


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("folder", SHIPPED, ids=shown)
@pytest.mark.usefixtures("assay_crds")
def test_a_folder_of_manifests_is_applied(folder: Path, namespace: str, kubectl: Any) -> None:
    command = ("apply", "--filename", str(folder), "--namespace", namespace, "--output", "name")
    checked = kubectl(*command, "--dry-run=server")
    assert (checked.returncode, checked.stderr) == (0, "")
    applied = kubectl(*command)
    assert (applied.returncode, applied.stderr) == (0, "")
    documents = [
        d for p in sorted(folder.glob("*.yaml")) for d in yaml.safe_load_all(p.read_text())
    ]
    assert sorted(applied.stdout.split()) == sorted(
        f"{d['kind'].lower()}.assay.dev/{d['metadata']['name']}" for d in documents
    )
    again = kubectl("diff", "--filename", str(folder), "--namespace", namespace)
    assert (again.returncode, again.stdout) == (0, "")
