"""The command line of local runs: exit codes and messages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from assay_api import InvalidInput
from assay_trainer.cli.explain import explain_command
from assay_trainer.cli.run import run_command

app = typer.Typer()
app.command("run")(run_command)
app.command("explain")(explain_command)

DATASET = """
kind: Dataset
metadata: {name: clips}
spec: {source: {folder: {uri: ./nowhere}}}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "clips.yaml"
    path.write_text(DATASET)
    return path


def test_a_wrong_manifest_changes_nothing(tmp_path: Path, manifest: Path) -> None:
    manifest.write_text(DATASET.replace("source", "sourse"))
    store = tmp_path / "store"
    result = CliRunner().invoke(app, ["run", "-f", str(manifest), "--store", str(store)])
    assert isinstance(result.exception, InvalidInput)
    assert "field spec.sourse: unknown field; did you mean source?" in str(result.exception)
    assert not store.exists()


def test_explain_before_the_first_run_changes_nothing(tmp_path: Path, manifest: Path) -> None:
    store = tmp_path / "store"
    arguments = ["explain", "-f", str(manifest), "--store", str(store)]
    result = CliRunner().invoke(app, arguments)
    assert result.stdout.splitlines()[0] == "Dataset/clips: Pending (Due)"
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert [entry["name"] for entry in found] == ["clips"]
    assert not store.exists()


def test_an_override_reaches_the_resource(tmp_path: Path, manifest: Path) -> None:
    arguments = ["explain", "-f", str(manifest), "--set", "Dataset/clips.spec.frames.count=3"]
    result = CliRunner().invoke(app, [*arguments, "--store", str(tmp_path / "store")])
    assert str(result.exception) == (
        f"{manifest}: Dataset/clips: field spec.frames.count: "
        "got 3: input should be a multiple of 2"
    )


def test_nothing_heavy_is_imported_to_offer_the_commands() -> None:
    code = (
        "import sys, assay_trainer.cli.run\n"
        "print(sorted({'torch', 'vllm', 'ray', 'pyarrow', 'av', 'yaml', 'assay_operator'}"
        " & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
