"""The committed definitions are those that the typed models make: `make generate` writes them."""

from pathlib import Path

import pytest
import yaml

from assay_api.crd.definitions import NAMINGS, definition_yaml, file_name

ROOT = Path(__file__).parents[2]
FOLDERS = ("manifests/crds", "charts/assay/files/crds")


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("kind", NAMINGS)
def test_a_definition_is_as_the_models_make_it(kind: str, folder: str) -> None:
    committed = (ROOT / folder / file_name(kind)).read_text()
    assert committed == definition_yaml(kind), "stale: run `make generate` and commit"


@pytest.mark.parametrize("folder", FOLDERS)
def test_there_is_no_other_definition(folder: str) -> None:
    found = {path.name for path in (ROOT / folder).glob("*.yaml")} - {"kustomization.yaml"}
    assert found == {file_name(kind) for kind in NAMINGS}


def test_all_of_them_are_applied() -> None:
    listed = yaml.safe_load((ROOT / "manifests/crds/kustomization.yaml").read_text())
    assert listed["resources"] == sorted(file_name(kind) for kind in NAMINGS)


def test_the_makefile_writes_both_folders() -> None:
    assert f"CRD_FOLDERS := {' '.join(FOLDERS)}\n" in (ROOT / "Makefile").read_text()
