"""Small stages on a small dataset: what meets faults, and what is compared with `assay run`."""

import textwrap

QUESTION = "Is this video real or fake? A) real B) fake"
CLIPS = "clips"
BASE = "small-base"
BASE_STEPS = 120

DATASET = f"""
apiVersion: assay.dev/v1alpha1
kind: Dataset
metadata: {{name: {CLIPS}}}
spec:
  source: {{synthetic: {{numVideos: 48, widthPixels: 56}}}}
  frames: {{count: 8, fps: 4, maxPixels: 3136}}
"""


def sft(name: str, steps: int, every: int = 5, more: str = "") -> str:
    """Return a stage that learns to describe from random weights, saved every few steps."""
    return _stage(
        name,
        f"""
        model: {{scratch: {{}}}}
        freezeVisionTower: false
        sft:
          task: Describe
          steps: {steps}
          examplesPerStep: 16
          optimizer: {{learningRate: 0.002, schedule: Linear, warmupSteps: 10, beta2: 0.95}}
        placement: {{precision: Float32, microBatch: 16}}
        checkpoint: {{every: {every}}}
        """,
        more,
    )


def base(name: str, every: int = 50) -> str:
    """Return the stage that the others start from: it keeps to the format, and guesses."""
    return sft(name, steps=BASE_STEPS, every=every)


def rl(name: str, steps: int, every: int = 1, judge: str = "", more: str = "") -> str:
    """Return a stage of RL after the base, with a judge's reward if one is named."""
    thinking = f", {{type: Thinking, rewardModel: {judge}}}" if judge else ""
    return _stage(
        name,
        f"""
        model: {{fromStage: {BASE}}}
        rl:
          steps: {steps}
          promptsPerStep: 4
          groupSize: 4
          maxCompletionTokens: 64
          dynamicSampling: false
          logprobTolerance: 0.0001
          optimizer: {{learningRate: 0.0003}}
          validation: {{every: {steps}, maxClips: 4}}
        rewards: [{{type: Format}}, {{type: Accuracy}}{thinking}]
        placement: {{precision: Float32, microBatch: 8}}
        checkpoint: {{every: {every}}}
        """,
        more,
    )


def _stage(name: str, spec: str, more: str) -> str:
    head = f"""
apiVersion: assay.dev/v1alpha1
kind: TrainingStage
metadata: {{name: {name}}}
spec:
  dataset: {CLIPS}
  prompt: {{question: "{QUESTION}"}}
"""
    parts = [textwrap.indent(textwrap.dedent(part).strip(), "  ") for part in (spec, more)]
    return head + "\n".join(part for part in parts if part) + "\n"


def documents(*texts: str) -> str:
    """Return manifests as one text."""
    return "---".join(texts)
