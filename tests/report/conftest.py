import math
import shutil
from pathlib import Path

import pytest

from assay_api import (
    Completion,
    Dataset,
    Evaluation,
    Model,
    ResolvedEvaluationJob,
    ResolvedModel,
    ResolvedStageJob,
    Split,
    ThinkingMode,
    TrainingStage,
)
from assay_api.dataset import SyntheticSource
from assay_data.dataset import ClipDataset, ClipRow
from assay_data.ingest import build_dataset
from assay_data.store import Store, open_store
from assay_data.synthetic import write_synthetic
from assay_trainer.evaluation.metrics import Answer, summarise
from assay_trainer.evaluation.summary import EvaluationResult, to_json
from assay_trainer.metrics_log import write_metrics, write_progress
from assay_trainer.records import PromptItem, Rollout, RolloutGroup, ScoredGroup
from assay_trainer.rollout_log import write_rollouts

EVIL = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)> & {{ 7 * 7 }}"
GROUP_SIZE = 4


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three stages, the last one in progress, written by the code that writes runs."""
    folder = tmp_path_factory.mktemp("run")
    store = open_store(str(folder))
    videos = tmp_path_factory.mktemp("videos")
    source = SyntheticSource(num_videos=12, width_pixels=56, seconds=2)
    write_synthetic(source, videos, 1, lambda done, total: None)
    (videos / "fake" / "grid" / "broken.mp4").write_text("no video")
    dataset = Dataset.model_validate(
        {
            "metadata": {"name": "clips"},
            "spec": {
                "source": {"folder": {"uri": str(videos)}},
                "frames": {"count": 4, "fps": 2.0},
            },
        }
    )
    build_dataset(dataset, store.child("datasets/clips"), 1, lambda done, total: None)
    clips = ClipDataset.open(store.child("datasets/clips"))
    write_sft(store.child("stages/describe"), folder)
    write_rl(store.child("stages/advanced"), folder, clips, done=12)
    write_rl(store.child("stages/foundation"), folder, clips, done=20)
    write_evaluation(store.child("evaluations/held-out"), folder, clips)
    return folder


@pytest.fixture
def run_folder(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the run for one test to change."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def write_model(store: Store, key: str, model: Model) -> None:
    store.write(key, model.model_dump_json(by_alias=True).encode())


def stage_job(name: str, spec: dict[str, object], folder: Path) -> ResolvedStageJob:
    stage = TrainingStage.model_validate(
        {"metadata": {"name": name}, "spec": {"dataset": "clips", **spec}}
    )
    return ResolvedStageJob(
        stage=stage,
        attempt=2,
        model=None,
        dataset=str(folder / "datasets/clips"),
        output=str(folder / "stages" / name),
    )


def write_sft(store: Store, folder: Path) -> None:
    spec = {
        "model": {"scratch": {}},
        "freezeVisionTower": False,
        "sft": {"task": "Describe", "steps": 10},
    }
    write_model(store, "orders/attempt-2.json", stage_job("describe", spec, folder))
    for step in range(1, 11):
        numbers = {"loss": 4 / step, "grad_norm": 1 / step, "time/step_seconds": 0.5}
        write_metrics(store, step, {**numbers, "examples_seen": 32.0 * step})
    completion = Completion(
        spec_digest="a", digest="b", result="model", summary={"steps": 10, "final loss": 0.123456}
    )
    write_model(store, "completion.json", completion)


def write_rl(store: Store, folder: Path, clips: ClipDataset, done: int) -> None:
    name = store.url.rpartition("/")[2]
    parent = {"foundation": "describe", "advanced": "foundation"}[name]
    spec = {
        "model": {"fromStage": parent},
        "rl": {"steps": 20, "groupSize": GROUP_SIZE, "modes": ["Think", "NoThink"]},
        "rewards": [{"type": "Format"}, {"type": "Accuracy"}],
    }
    write_model(store, "orders/attempt-1.json", stage_job(name, spec, folder))
    write_model(store, "orders/attempt-2.json", stage_job(name, spec, folder))
    rows = clips.rows(Split.TRAIN)
    for step in range(done + 1):
        write_metrics(store, step, rl_numbers(step, done))
    for step in range(1, done + 1):
        write_rollouts(store, step, [scored(row, step) for row in rows[:6]])
    write_progress(store, done, 20, "sampling", {"reward": 0.5})
    if done == 20:
        completion = Completion(spec_digest="a", digest="b", result="model", summary={})
        write_model(store, "completion.json", completion)


def rl_numbers(step: int, done: int) -> dict[str, float]:
    share = 1 - math.exp(-step / 8)
    held_out = {
        "accuracy/held_out_think": 0.5 + 0.4 * share,
        "accuracy/held_out_no_think": 0.5 + 0.3 * share,
        "judge/held_out_mean": 0.3 + 0.5 * share,
        "mode/obeyed_think": 0.8 + 0.2 * share,
        "mode/obeyed_no_think": 0.7 + 0.3 * share,
    }
    sampled = {
        "reward/mean": share - 0.1,
        "reward/accuracy": share,
        "reward/format": share / 5 - 0.2,
        "accuracy/sampled": 0.5 + 0.35 * share + 0.03 * math.sin(3 * step),
        "length/mean_tokens": 40 + 60 * share,
        "entropy/mean_nats": 1.2 - share,
        "logprob/max_difference": 0.001 + 0.0005 * math.sin(step),
        "loss": 0.02 * math.cos(step),
        "grad_norm": 0.5 + 0.1 * math.sin(step),
        "sampling/acceptance": 1 - 0.5 * share,
        "sampling/learned_share_think": 0.5 + 0.2 * share,
        "sampling/learned_share_no_think": 0.5 - 0.2 * share,
        "time/rollout_seconds": 2.0,
        "time/score_seconds": 0.4,
        "time/learn_seconds": 1.5 + 0.2 * math.sin(step),
        "time/sync_seconds": 0.1,
        "time/other_seconds": 0.05,
        "time/step_seconds": 4.05 + 0.2 * math.sin(step),
    }
    measured = held_out if step % 5 == 0 or step == done else {}
    return {**measured, **(sampled if step else {})}


def scored(row: ClipRow, step: int) -> ScoredGroup:
    correct = tuple(i % 3 != 1 for i in range(GROUP_SIZE))
    right, wrong = ("A", "B") if row.label == "real" else ("B", "A")
    prompt = PromptItem(
        row=row,
        mode=ThinkingMode.THINK,
        text=f"<|im_start|>user\n<|video_pad|>Real or fake? {EVIL} /think<|im_end|>\n",
        question="Real or fake?",
    )
    rollouts = tuple(
        Rollout(
            token_ids=(5, 6, 7),
            sampler_logprobs=(-0.1, -0.2, -0.3),
            text=f"<think>Let me look at the light. {EVIL}</think>"
            f"<answer>{right if ok else wrong}</answer>",
            truncated=not ok,
            policy_version=step - 1,
        )
        for ok in correct
    )
    return ScoredGroup(
        group=RolloutGroup(prompt=prompt, rollouts=rollouts),
        terms={
            "Format": (0.0,) * GROUP_SIZE,
            "Accuracy": tuple(float(ok) for ok in correct),
            "Thinking": (None,) * GROUP_SIZE,
        },
        rewards=tuple(float(ok) for ok in correct),
        correct=correct,
        advantages=tuple(0.5 if ok else -1.5 for ok in correct),
    )


def write_evaluation(store: Store, folder: Path, clips: ClipDataset) -> None:
    evaluation = Evaluation.model_validate(
        {
            "metadata": {"name": "held-out"},
            "spec": {"model": {"fromStage": "foundation"}, "dataset": "clips", "split": "Train"},
        }
    )
    job = ResolvedEvaluationJob(
        evaluation=evaluation,
        model=ResolvedModel(uri=str(folder / "stages/foundation/model")),
        dataset=str(folder / "datasets/clips"),
        output=store.url,
    )
    write_model(store, "orders/attempt-1.json", job)
    answers = [
        Answer(
            row_id=row.row_id,
            video_id=row.video_id,
            label=row.label,
            generator=row.generator,
            mode=mode,
            verdict=row.label if index % 4 else None,
            loose_verdict=row.label,
            probability_fake=0.8 if row.label == "fake" else 0.3,
            length_tokens=40,
            followed_mode=True,
        )
        for mode in ThinkingMode
        for index, row in enumerate(clips.rows(Split.TRAIN))
    ]
    result = EvaluationResult(model_digest="abc123", summary=summarise(answers, 200, 0))
    store.write("result.json", to_json(result))
