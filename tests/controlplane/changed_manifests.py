"""Manifests with single values replaced: what tests of refusals are made of."""

import copy
from typing import Any

Manifest = dict[str, Any]

GONE = object()
"""Instead of a value: the field is taken out."""


def changed(manifest: Manifest, changes: dict[str, Any]) -> Manifest:
    """Return a manifest with values replaced or added, by paths such as `spec.rewards.0.type`."""
    made = copy.deepcopy(manifest)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place: Any = made
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        if value is GONE:
            del place[last]
        elif isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = value
    return made


def resource(kind: str, name: str, spec: Manifest) -> Manifest:
    """Return a custom resource."""
    return {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


SFT_SPEC = {
    "model": {"uri": "s3://models/base"},
    "dataset": "clips",
    "sft": {"task": "Describe", "steps": 8},
}
RL_SPEC = {
    "model": {"uri": "s3://models/base"},
    "dataset": "clips",
    "rl": {"steps": 8},
    "rewards": [{"type": "Format"}, {"type": "Accuracy"}],
}
SFT = resource("TrainingStage", "describe", SFT_SPEC)
RL = resource("TrainingStage", "foundation", RL_SPEC)
FUSION = resource(
    "TrainingStage",
    "fusion",
    {"model": {"fromStage": "foundation"}, "dataset": "clips", "fusion": {"steps": 8}},
)
PIPELINE = resource(
    "TrainingPipeline",
    "two",
    {
        "stages": [
            {"name": "first", "spec": SFT_SPEC},
            {"name": "second", "spec": {**RL_SPEC, "model": {"fromStage": "first"}}},
        ]
    },
)
DATASET = resource("Dataset", "clips", {"source": {"folder": {"uri": "s3://videos/all"}}})
JUDGE = resource("RewardModel", "judge", {"model": {"uri": "s3://models/judge"}})
EVALUATION = resource(
    "Evaluation", "held-out", {"model": {"fromStage": "fusion"}, "dataset": "clips"}
)
RIGHT = {
    "sft": SFT,
    "rl": RL,
    "fusion": FUSION,
    "pipeline": PIPELINE,
    "dataset": DATASET,
    "judge": JUDGE,
    "evaluation": EVALUATION,
}
"""A right manifest of each kind, and of a stage by each method."""
