"""A stage that starts from a model of the Hub, run by the command that people run."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import HubServer, Repository

from assay_data.store import open_store

pytestmark = [pytest.mark.engine, pytest.mark.release]

MANIFEST = """
kind: Dataset
metadata: {name: clips}
spec:
  source: {synthetic: {numVideos: 8, widthPixels: 56, seconds: 2}}
  frames: {count: 2}
  split: {testFraction: 0.3}
---
kind: TrainingStage
metadata: {name: base}
spec:
  model: {uri: "hf://a/model"}
  dataset: clips
  sft: {task: Describe, steps: 2, examplesPerStep: 2}
  checkpoint: {every: 1}
  placement: {precision: Float32, microBatch: 2}
"""


@pytest.fixture
def hub(scratch_model: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        server.models["a/model"] = Repository(token="hf_secret")
        files = {p.name: p.read_bytes() for p in scratch_model.iterdir() if p.is_file()}
        server.models["a/model"].commit(files)
        yield server


def run(folder: Path, hub: HubServer) -> str:
    """Run the manifest; return what was said."""
    (folder / "all.yaml").write_text(MANIFEST)
    own = {
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": "hf_secret",
        "ASSAY_CACHE": str(folder / "cache"),
    }
    command = [sys.executable, "-m", "assay_trainer.cli.main", "run", "-f", "all.yaml"]
    found = subprocess.run(
        [*command, "--store", str(folder / "store"), "--json"],
        cwd=folder,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = found.stdout + found.stderr
    assert found.returncode == 0, said + log(folder)
    return said


def log(folder: Path) -> str:
    return "".join(p.read_text() for p in (folder / "store/stages/base/logs").glob("*"))


def test_a_stage_goes_on_with_the_commit_that_it_began_with(hub: HubServer, tmp_path: Path) -> None:
    commit = hub.models["a/model"].branches["main"]

    run(tmp_path, hub)

    store = open_store(str(tmp_path / "store/stages/base"))
    assert json.loads(store.read("model-pin.json")) == {"uri": "hf://a/model", "commit": commit}
    completion = json.loads(store.read("completion.json"))
    model = store.digest("model")

    # Somebody pushes to the branch; what has finished stays finished.
    hub.models["a/model"].commit({"config.json": b"{}"})
    run(tmp_path, hub)
    assert not store.exists("orders/attempt-2.json")

    # A stage that has still to end goes on from its checkpoint, which is of the same commit.
    store.delete("completion.json")
    store.delete("model")
    store.delete("checkpoints/step-000002")
    run(tmp_path, hub)

    orders = json.loads(store.read("orders/attempt-2.json"))
    assert orders["model"] == {"uri": f"hf://a/model@{commit}", "digest": commit}
    assert json.loads(store.read("completion.json"))["specDigest"] == completion["specDigest"]
    assert store.digest("model") == model
    assert "hf_secret" not in log(tmp_path)
