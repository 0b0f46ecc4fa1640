"""Every wrong manifest is answered with a line that names file, resource, field and remedy."""

import re
from pathlib import Path

import pytest

from assay_api import InvalidInput, TrainingStage
from assay_api.manifests import load, parse_manifests

STAGE = """
apiVersion: assay.dev/v1alpha1
kind: TrainingStage
metadata: {name: foundation}
spec:
  model: {uri: ./model}
  dataset: clips
"""

RL = "  rewards: [{type: Accuracy}]\n  rl: {steps: 4}\n"
DATASET = """
kind: Dataset
metadata: {name: clips}
spec: {source: {synthetic: {}}}
"""


def message_of(text: str) -> str:
    with pytest.raises(InvalidInput) as raised:
        parse_manifests(text, "a.yaml")
    return str(raised.value)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            "  rewards: [{type: Accuracy}]\n  rl: {steps: 4, groupSize: 1}\n",
            "field spec.rl.groupSize: got 1, must be >= 2",
        ),
        (
            "  rewards: [{type: Accuracy}]\n  rl: {steps: 4, groupSiz: 2}\n",
            "field spec.rl.groupSiz: unknown field; did you mean groupSize?",
        ),
        (
            "  rewards: [{type: Accuracy, weight: 0}]\n  rl: {steps: 4}\n",
            "field spec.rewards[0].weight: got 0, must be > 0.0",
        ),
        (
            "  rewards: [{type: Accuracy}, {type: Overlong, maxTokens: 600}]\n"
            "  rl: {steps: 4, maxCompletionTokens: 512}\n",
            "field spec: rewards: maxTokens (600) of Overlong must be at most "
            "rl.maxCompletionTokens (512): no completion is longer",
        ),
        (
            "  rewards: [{type: Format}, {type: ModeFollowed}]\n  rl: {steps: 4}\n",
            "field spec: rewards: none is for right answers: add Accuracy (Thinking is one in the "
            "mode Think, and a Plugin may be)",
        ),
        (
            "  rewards: [{type: Thinking, rewardModel: judge}]\n"
            "  rl: {steps: 4, modes: [Think, NoThink]}\n",
            "field spec: rewards: none is for right answers: add Accuracy (Thinking is one in the "
            "mode Think, and a Plugin may be)",
        ),
        (
            "  rewards: [{type: Accuracy}, {type: Thinking, rewardModel: judge}]\n"
            "  rl: {steps: 4, modes: [NoThink]}\n",
            "field spec: rewards: Thinking is 0 in the mode NoThink: rl.modes must have Think",
        ),
        (
            "  sft: {task: Judge, steps: 1}\n  checkpoint: {keepBest: 2}\n",
            "field spec: checkpoint.keepBest (2) goes by held-out accuracy, which only the method "
            "rl measures: leave it out",
        ),
        (
            RL + "  placement: {precision: Float16}\n",
            "field spec.placement.precision: got 'Float16', allowed: Float32, BFloat16; "
            "did you mean BFloat16?",
        ),
        (
            RL + "  placement: {gpusPerRollout: 2}\n",
            "field spec.placement.gpusPerRollout: got 2, allowed: 1; a rollout engine uses one "
            "GPU, tensor parallelism is not supported yet: raise rollouts instead",
        ),
        (
            "  rewards: [{type: Accuracy}]\n  rl: {steps: 4, modes: [Thnk]}\n",
            "field spec.rl.modes[0]: got 'Thnk', allowed: Think, NoThink; did you mean Think?",
        ),
        (
            RL + "  lora: {rank: 12}\n",
            "field spec.lora.rank: got 12, allowed: 1, 8, 16, 32, 64, 128, 256, 320 or 512",
        ),
        (
            RL + "  sft: {task: Judge, steps: 1}\n",
            "field spec: exactly one of sft, rl, fusion is allowed, found sft and rl",
        ),
        (
            RL + "  prompt: {system: Be brief.}\n",
            "field spec.prompt: question is required with source: Question",
        ),
        (
            "  sft: {task: Judge, steps: 1, promptTemplate: Rate it}\n",
            "field spec.sft: promptTemplate must hold {reasoning} exactly once: it is what is "
            "judged",
        ),
        (
            "  sft: {task: Judge, steps: 1, framesAsImages: 2, promptTemplate: '{reasoning}'}\n",
            "field spec.sft: promptTemplate has no {images}, but framesAsImages is 2: say where "
            "the images stand, or set framesAsImages: 0 for a judge that reads text only",
        ),
        (
            "  rewards: [{type: Accuracy}]\n  rl: {}\n",
            "field spec.rl.steps: is required, and missing",
        ),
        (
            "  rewards: [{type: Accuracy}]\n  rl: 3\n",
            "field spec.rl: got 3, must be a mapping with the fields steps, promptsPerStep, "
            "groupSize, modes, maxCompletionTokens, temperature, loss, updatesPerBatch, "
            "importanceWeightCap, advantageStd, advantageStdFloor, dynamicSampling, groupFilter, "
            "maxSamplingRounds, maxEmptySteps, logprobTolerance, batchInvariant, factuality, "
            "optimizer, validation",
        ),
        (
            RL + "  seed: many\n",
            "field spec.seed: got 'many': input should be a valid integer, "
            "unable to parse string as an integer",
        ),
        (
            RL + "  learnigRate: 3\n",
            "field spec.learnigRate: unknown field; allowed: model, dataset, prompt, answer, sft, "
            "rl, fusion, rewards, lora, freezeVisionTower, placement, podTemplate, checkpoint, "
            "tracking, retry, gate, suspend, seed",
        ),
    ],
)
def test_a_wrong_stage_is_explained(fields: str, line: str) -> None:
    assert message_of(STAGE + fields) == f"a.yaml: TrainingStage/foundation: {line}"


def test_all_problems_are_told_at_once() -> None:
    two = STAGE + "  rl: {steps: 0, groupSize: 1}\n---\nkind: Dataste\nmetadata: {name: x}\n"
    assert message_of(two).splitlines() == [
        "a.yaml: TrainingStage/foundation: field spec.rl.steps: got 0, must be >= 1",
        "a.yaml: TrainingStage/foundation: field spec.rl.groupSize: got 1, must be >= 2",
        "a.yaml: Dataste/x: field kind: got 'Dataste', allowed: Dataset, TrainingStage, "
        "TrainingPipeline, RewardModel, Evaluation; did you mean Dataset?",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("kind: [a\n", "a.yaml:2:1: not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3:1: not valid YAML: field a is given twice"),
        (
            "- 1\n",
            "a.yaml: document 1 is a list, must be a mapping with apiVersion, kind, metadata "
            "and spec",
        ),
        (
            "a: \x01\n",
            "a.yaml: not valid YAML: unacceptable character #x0001: special characters "
            'are not allowed\n  in "a.yaml", position 3',
        ),
    ],
)
def test_text_that_is_no_manifest_is_located(text: str, line: str) -> None:
    assert message_of(text).replace("<unicode string>", "a.yaml") == line


def test_numbers_written_as_science_does_are_numbers() -> None:
    text = (
        STAGE + "  rewards: [{type: Accuracy}]\n  rl: {steps: 4, optimizer: {learningRate: 1e-5}}"
    )
    stage = parse_manifests(text, "a.yaml")[0]
    assert isinstance(stage, TrainingStage) and stage.spec.rl
    assert stage.spec.rl.optimizer.learning_rate == 1e-5


def test_a_folder_is_read_in_order_and_not_below(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text(STAGE + RL)
    (tmp_path / "a.yaml").write_text(DATASET)
    (tmp_path / "notes.txt").write_text("kind: nothing")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "c.yaml").write_text("kind: Nonsense")
    assert [r.kind for r in load([str(tmp_path)])] == ["Dataset", "TrainingStage"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("missing.yaml", "missing.yaml: no such file or folder; name a manifest or a folder (-f)"),
        ("empty", "empty: folder without *.yaml or *.yml files; name another (-f)"),
        ("blank.yaml", "no manifest in .*blank.yaml: name one"),
        ("binary.yaml", "binary.yaml: can't be read as text: .*"),
    ],
)
def test_a_path_without_manifests_is_refused(tmp_path: Path, name: str, line: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.yaml").write_text("---\n")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput) as raised:
        load([str(tmp_path / name)])
    pattern = line if ".*" in line else re.escape(line)
    assert re.search(pattern, str(raised.value))
