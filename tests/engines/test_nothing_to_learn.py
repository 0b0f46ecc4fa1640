"""`assay run` of RL on a model that never answers in tags: it fails and publishes nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

from assay_data.store import open_store
from assay_trainer.metrics_log import read_metrics

MANIFEST = """
kind: Dataset
metadata: {{name: clips}}
spec:
  source: {{synthetic: {{numVideos: 8, widthPixels: 56}}}}
  frames: {{count: 4, maxPixels: 3136}}
---
kind: TrainingStage
metadata: {{name: mute}}
spec:
  model: {{uri: {model}}}
  dataset: clips
  prompt: {{question: "Real or fake? A) real B) fake"}}
  rl:
    steps: 9
    promptsPerStep: 2
    groupSize: 2
    maxCompletionTokens: 12
    maxSamplingRounds: 1
    maxEmptySteps: 2
    validation: {{maxClips: 2}}
  rewards: [{{type: Format}}, {{type: Accuracy}}]
  placement: {{learners: 2, precision: Float32, microBatch: 4}}
  checkpoint: {{every: 1}}
"""


def test_a_model_that_never_answers_in_tags_ends_its_stage_with_two_of_its_answers(
    scratch_model: Path, tmp_path: Path
) -> None:
    manifest, store = tmp_path / "stage.yaml", tmp_path / "store"
    manifest.write_text(MANIFEST.format(model=scratch_model))
    command = ["run", "-f", str(manifest), "--store", str(store), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "assay_trainer.cli.main", *command],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )

    assert done.returncode == 1, done.stderr[-3000:]
    states = {r["name"]: (r["state"], r["reason"]) for r in json.loads(done.stdout)["resources"]}
    assert states == {
        "clips": ("Succeeded", "Completed"),
        "mute": ("Failed", "RetriesExhausted"),
    }
    lines = [line.strip() for line in done.stderr.splitlines()]
    (first,) = (n for n, line in enumerate(lines) if "found no usable rollout group" in line)
    assert "steps 1 to 2 found no usable rollout group (spec.rl.maxEmptySteps: 2)" in lines[first]
    assert "0% of the answers keep to the answer format" in lines[first]
    assert all(json.loads(answer) for answer in lines[first + 1 : first + 3])
    assert lines[first + 3].startswith("What to do: the prompt does not name <think>, </think>")

    stage = open_store(str(store / "stages/mute"))
    assert not stage.exists("completion.json") and not stage.list("model")
    assert read_metrics(stage)[0]["well_formed/held_out_think"] == 0.0
    assert [read_metrics(stage)[n]["sampling/empty_steps"] for n in (1, 2)] == [1.0, 2.0]
    log = (store / "stages/mute/logs/attempt-1.log").read_text()
    assert "only 0% of 2 held-out answers in the mode Think keep to the answer format" in log
    assert log.count("there is no checkpoint") == 1, "Ray Train has started the learners anew"
    assert log.index("only 0%") < log.index("step 1 found no usable group")
