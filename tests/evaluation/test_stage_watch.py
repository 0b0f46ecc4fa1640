"""What a schedule finds new of a stage. The detector is played, exports are real."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration

from assay_api import (
    Completion,
    Evaluation,
    ResolvedEvaluationJob,
    ResolvedModel,
    ResolvedStart,
    ScratchModel,
    StoreError,
    ThinkingMode,
    WatchedStage,
)
from assay_api.prompt import Prompt
from assay_data.checkpoint_store import CheckpointStore, SavedCheckpoint
from assay_data.store import FolderStore, open_store
from assay_trainer.evaluation import answering
from assay_trainer.evaluation.evaluation_job import run_evaluation_job
from assay_trainer.evaluation.results import read_results
from assay_trainer.models.scratch import make_scratch_model
from assay_trainer.records import Clip

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method`:DeprecationWarning"  # Of torch's own.
)

QUESTION = "Real or fake? A) real B) fake"
SIZES = {"hiddenSize": 64, "numLayers": 1, "numHeads": 2, "numKvHeads": 1}
SIZES |= {"visionHiddenSize": 32, "visionDepth": 1}
NORM = "model.language_model.norm.weight"
"""A weight that tells which step a model is of; in files it is called otherwise."""
NORM_IN_FILES = "model.norm.weight"
Job = Callable[..., ResolvedEvaluationJob]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    make_scratch_model(ScratchModel.model_validate(SIZES), [QUESTION, "/think user"], folder)
    return folder


@pytest.fixture
def models(
    asked: list[tuple[ThinkingMode, list[Clip]]], monkeypatch: pytest.MonkeyPatch
) -> list[float]:
    """The step that each evaluated model was of, as its weights tell."""
    seen: list[float] = []
    played = answering.Detector

    class Detector(played):  # type: ignore[misc, valid-type]
        def __init__(self, folder: Path, *arguments: Any, **more: Any) -> None:
            super().__init__(folder, *arguments, **more)
            assert json.loads((folder / "assay.json").read_text())["prompt"]["question"] == QUESTION
            (step,) = set(load_file(folder / "model.safetensors")[NORM_IN_FILES].tolist())
            seen.append(step)

    monkeypatch.setattr(answering, "Detector", Detector)
    return seen


class Stage:
    """A stage's folder, with what it would write."""

    def __init__(self, folder: Path, start: Path) -> None:
        self.folder, self.start = folder, start
        self.checkpoints = CheckpointStore(FolderStore(folder / "checkpoints"))

    def save(self, step: int, identity: str = "trained-so") -> None:
        """Publish a checkpoint as DeepSpeed writes it."""
        tree = self.folder.parent / f"tree-{step}"
        (tree / "learner").mkdir(parents=True)
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(self.start)
        weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        weights[f"model.{NORM}"].fill_(step)
        torch.save({"module": weights}, tree / "learner/mp_rank_00_model_states.pt")
        (tree / "learner/optim_states.pt").write_bytes(b"never read")
        position = {"step": step, "policy_version": step, "cursor": 0, "identity": identity}
        (tree / "position.json").write_text(json.dumps(position))
        self.checkpoints.publish(tree, SavedCheckpoint(step, 1))

    def finish(self, step: int) -> str:
        """Publish the model and the proof; return the model's digest."""
        tree = self.folder.parent / "published"
        tree.mkdir()
        weights = load_file(self.start / "model.safetensors")
        weights[NORM_IN_FILES].fill_(step)
        save_file(weights, tree / "model.safetensors")
        (tree / "assay.json").write_text(json.dumps({"prompt": {"question": QUESTION}}))
        store = FolderStore(self.folder)
        digest = store.publish(tree, "model")
        proof = Completion(
            spec_digest="trained-so", digest=digest, result="model", summary={"steps": step}
        )
        store.write("completion.json", proof.model_dump_json(by_alias=True).encode())
        return digest


@pytest.fixture
def stage(tmp_path: Path, start: Path) -> Stage:
    return Stage(tmp_path / "stages/s", start)


@pytest.fixture
def job(clips_url: str, stage: Stage, start: Path, tmp_path: Path) -> Job:
    def orders(*, knows_start: bool = True, **spec: Any) -> ResolvedEvaluationJob:
        given = {"model": {"fromStage": "s"}, "dataset": "clips", "schedule": "0 3 * * *"}
        written = {**given, "maxClips": 2, "modes": ["Think"], **spec}
        return ResolvedEvaluationJob(
            evaluation=Evaluation.model_validate({"metadata": {"name": "e"}, "spec": written}),
            watched=WatchedStage(
                name="s",
                url=str(stage.folder),
                start=ResolvedStart(
                    model=ResolvedModel(uri=str(start)),
                    dataset=clips_url,
                    prompt=Prompt(question=QUESTION),
                    precision="Float32",
                )
                if knows_start
                else None,
            ),
            dataset=clips_url,
            output=str(tmp_path / "out"),
        )

    return orders


def shown(tmp_path: Path) -> tuple[int | None, bool]:
    """Return the step that is shown as the newest, and whether there is a proof of an end."""
    newest = Completion.model_validate_json((tmp_path / "out/newest.json").read_text())
    whole = json.loads((tmp_path / "out" / newest.result).read_text())
    assert whole == json.loads((tmp_path / "out/result.json").read_text())
    assert whole["modelDigest"] == newest.digest
    assert whole["watched"]["specDigest"] == newest.spec_digest
    step = newest.summary["step"]
    assert isinstance(step, int)
    return step, (tmp_path / "out/completion.json").exists()


def files(tmp_path: Path) -> dict[str, tuple[bytes, int]]:
    found = (path for path in (tmp_path / "out").rglob("*.json") if path.name != "progress.json")
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def test_before_the_first_checkpoint_there_is_nothing_new(
    job: Job, models: list[float], tmp_path: Path
) -> None:
    assert run_evaluation_job(job()) is None
    assert (models, files(tmp_path)) == ([], {})


def test_the_newest_without_a_result_is_evaluated_until_nothing_is_new(
    job: Job, stage: Stage, models: list[float], tmp_path: Path
) -> None:
    stage.save(2)
    stage.save(4)
    assert run_evaluation_job(job()) is not None
    assert (models, shown(tmp_path)) == ([4], (4, False))
    stage.save(6)
    run_evaluation_job(job())
    assert (models, shown(tmp_path)) == ([4, 6], (6, False))
    # An earlier one fills the gap, and is not the newest.
    run_evaluation_job(job())
    assert (models, shown(tmp_path)) == ([4, 6, 2], (6, False))
    before = files(tmp_path)
    assert run_evaluation_job(job()) is None
    assert (models, files(tmp_path)) == ([4, 6, 2], before)
    results = read_results(open_store(str(tmp_path / "out")))
    assert [r.watched.step for r in results if r.watched] == [2, 4, 6]


def test_the_finished_model_goes_first_and_is_the_proof_of_the_end(
    job: Job, stage: Stage, models: list[float], tmp_path: Path
) -> None:
    stage.save(2)
    run_evaluation_job(job())
    stage.save(3)
    stage.save(4)
    digest = stage.finish(4)
    run_evaluation_job(job())
    assert (models, shown(tmp_path)) == ([2, 4], (4, True))
    assert json.loads((tmp_path / "out/completion.json").read_text())["digest"] == digest
    # The checkpoint of the last step has the same weights.
    run_evaluation_job(job())
    assert (models, shown(tmp_path)) == ([2, 4, 3], (4, True))
    assert run_evaluation_job(job()) is None


def test_without_what_it_starts_from_only_the_finished_model_is_evaluated(
    job: Job, stage: Stage, models: list[float], tmp_path: Path
) -> None:
    stage.save(2)
    assert run_evaluation_job(job(knows_start=False)) is None
    stage.finish(4)
    run_evaluation_job(job(knows_start=False))
    assert (models, shown(tmp_path)) == ([4], (4, True))
    assert run_evaluation_job(job(knows_start=False)) is None


def test_another_spec_is_another_evaluation(
    job: Job, stage: Stage, models: list[float], tmp_path: Path
) -> None:
    stage.save(2)
    run_evaluation_job(job())
    run_evaluation_job(job(maxClips=1))
    assert models == [2, 2]
    assert run_evaluation_job(job(schedule="0 4 * * *")) is None
    assert len(list((tmp_path / "out/results").iterdir())) == 2


def test_a_checkpoint_is_pinned_while_it_is_worked_with_and_not_afterwards(
    job: Job, stage: Stage, models: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.save(2)
    retired: list[list[int]] = []
    played = answering.Detector

    class Detector(played):  # type: ignore[misc, valid-type]
        def detect(self, *arguments: Any) -> Any:
            stage.save(4)
            retired.append(stage.checkpoints.retire(keep_last=1, keep_best=0))
            return super().detect(*arguments)

    monkeypatch.setattr(answering, "Detector", Detector)
    run_evaluation_job(job())
    assert retired == [[]]
    assert stage.checkpoints.retire(keep_last=1, keep_best=0) == [2]


def test_one_that_is_retired_before_it_is_fetched_is_no_error(
    job: Job, stage: Stage, models: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stage.save(2)
    stage.save(4)
    fetch = CheckpointStore.fetch_file

    def late(self: CheckpointStore, checkpoint: SavedCheckpoint, *where: Any) -> None:
        if checkpoint.step == 4:
            FolderStore(stage.folder / "checkpoints").delete("step-000004")
        fetch(self, checkpoint, *where)

    monkeypatch.setattr(CheckpointStore, "fetch_file", late)
    run_evaluation_job(job())
    assert (models, shown(tmp_path)) == ([2], (2, False))


def test_a_damaged_one_is_passed_over_and_told(
    job: Job, stage: Stage, models: list[float], tmp_path: Path
) -> None:
    stage.save(2)
    stage.save(4)
    damaged = stage.folder / "checkpoints/step-000004/learner/mp_rank_00_model_states.pt"
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    run_evaluation_job(job())
    assert (models, shown(tmp_path)) == ([2], (2, False))
    with pytest.raises(StoreError, match=r"step-000004/learner/mp_rank_00.*its manifest says"):
        run_evaluation_job(job())


def test_a_run_that_fails_leaves_earlier_results_as_they_were(
    job: Job, stage: Stage, models: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stage.save(2)
    run_evaluation_job(job())
    before = files(tmp_path)
    stage.save(4)

    def broken(*arguments: Any, **more: Any) -> None:
        raise StoreError("the device is gone")

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="device"):
        patch.setattr(answering, "Detector", broken)
        run_evaluation_job(job())
    assert files(tmp_path) == before
    assert not (stage.folder / "checkpoints/pins/evaluation-e.json").exists()
    run_evaluation_job(job())
    assert shown(tmp_path) == (4, False)


def test_a_run_killed_between_two_writes_is_made_good_by_the_next(
    job: Job, stage: Stage, models: list[float], tmp_path: Path
) -> None:
    stage.save(2)
    stage.finish(4)
    run_evaluation_job(job())
    whole = {name: data for name, (data, _) in files(tmp_path).items()}
    for name in ("result.json", "newest.json", "completion.json"):
        (tmp_path / "out" / name).unlink()
    run_evaluation_job(job())
    assert {name: files(tmp_path)[name][0] for name in whole} == whole


def test_what_was_found_of_an_earlier_training_is_not_the_newest(
    job: Job, stage: Stage, models: list[float], tmp_path: Path
) -> None:
    stage.save(6, identity="trained-otherwise")
    run_evaluation_job(job())
    assert shown(tmp_path) == (6, False)
    FolderStore(stage.folder).delete("checkpoints")
    stage.save(2)
    run_evaluation_job(job())
    assert (models, shown(tmp_path)) == ([6, 2], (2, False))


def test_a_checkpoint_of_another_model_is_told(
    job: Job, stage: Stage, models: list[float], tmp_path: Path
) -> None:
    tree = tmp_path / "foreign"
    (tree / "learner").mkdir(parents=True)
    state = {"module": {"model.lm_head.weight": torch.zeros(2, 2)}}
    torch.save(state, tree / "learner/mp_rank_00_model_states.pt")
    (tree / "position.json").write_text(json.dumps({"identity": "x"}))
    stage.checkpoints.publish(tree, SavedCheckpoint(2, 1))
    with pytest.raises(StoreError, match=r"does not fit the model in .*other adapters"):
        run_evaluation_job(job())


def test_nothing_foreign_is_unpickled(
    job: Job, stage: Stage, models: list[float], tmp_path: Path
) -> None:
    tree = tmp_path / "foreign"
    (tree / "learner").mkdir(parents=True)
    torch.save({"module": {"model.w": Path("x")}}, tree / "learner/mp_rank_00_model_states.pt")
    (tree / "position.json").write_text(json.dumps({"identity": "x"}))
    stage.checkpoints.publish(tree, SavedCheckpoint(2, 1))
    with pytest.raises(StoreError, match="is no state of a learner"):
        run_evaluation_job(job())
