import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from assay_api import InvalidInput, StoreError
from assay_api.running import Checkpoint
from assay_data.store import FolderStore
from assay_trainer.checkpoints import Checkpoints, Position
from assay_trainer.learner import forward
from assay_trainer.models.export import WEIGHTS_FILE, learner_weights

LENGTHS = (5, 1, 12, 7)


@pytest.fixture
def train(draw_completions):
    """Take so many steps."""

    def run(parts, num_steps: int) -> None:
        (batch,) = parts.micro_batches(draw_completions(parts, LENGTHS))
        for _ in range(num_steps):
            parts.learner.update([(batch, lambda out: -out.logprobs.mean())])

    return run


@pytest.fixture
def spec(rl):
    optimizer = {"learningRate": 1e-3, "schedule": "Linear", "warmupSteps": 2}
    return rl(steps=6, optimizer=optimizer) | {"checkpoint": {"keep": 2}}


def weights(parts) -> dict[str, torch.Tensor]:
    return dict(parts.policy.exported_weights())


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, right[name]) for name, tensor in left.items())


def saved_steps(parts) -> list[str]:
    return sorted(path.name for path in Path(parts.job.output, "checkpoints").iterdir())


LORA = {"rank": 1, "alpha": 2, "targets": ["q_proj"]}


@pytest.mark.parametrize(
    ("lora", "precision"), [(None, "Float32"), (LORA, "Float32"), (LORA, "BFloat16")]
)
def test_a_resumed_learner_goes_on_bit_for_bit(
    make_parts, spec, train, lora: dict | None, precision: str
) -> None:
    spec = spec | {"lora": lora, "placement": {"precision": precision, "microBatch": 4}}
    parts = make_parts(**spec)
    train(parts, 2)
    parts.checkpoints().save(Position(step=2, policy_version=2, cursor=8))
    train(parts, 2)

    resumed = make_parts(**spec)
    position = resumed.checkpoints().resume()
    train(resumed, 2)

    assert position == Position(step=2, policy_version=2, cursor=8)
    assert equal(weights(resumed), weights(parts))


def test_frozen_weights_are_left_out(make_parts, spec, scratch_model) -> None:
    parts = make_parts(**spec, lora=LORA)

    parts.checkpoints().save(Position(1, 1, 4))

    files = [path for path in Path(parts.job.output, "checkpoints").rglob("*") if path.is_file()]
    base = (scratch_model / "model.safetensors").stat().st_size
    assert 10 * sum(path.stat().st_size for path in files) < base
    (weights,) = (path for path in files if path.name == Path(WEIGHTS_FILE).name)
    assert set(learner_weights(weights)) == {
        f"base_model.model.model.language_model.layers.{layer}.self_attn.q_proj.lora_{part}"
        ".default.weight"
        for layer in (0, 1)
        for part in "AB"
    }


def test_a_checkpoint_that_holds_frozen_weights_too_is_resumed(
    make_parts, spec, train, tmp_path, monkeypatch
) -> None:
    parts = make_parts(**spec, lora=LORA)
    train(parts, 2)
    with monkeypatch.context() as earlier:
        earlier.setattr(forward, "frozen_names", lambda module: set())
        parts.learner._engine.save_checkpoint(str(tmp_path), tag="learner", save_latest=False)
    assert len(learner_weights(tmp_path / WEIGHTS_FILE)) > 50
    train(parts, 2)

    resumed = make_parts(**spec, lora=LORA)
    resumed.learner.load(tmp_path)
    train(resumed, 2)

    assert equal(weights(resumed), weights(parts))


def test_a_checkpoint_without_a_weight_that_trains_is_refused(make_parts, spec, tmp_path) -> None:
    """Only frozen weights may be missing."""
    make_parts(**spec, lora=LORA).learner.save(tmp_path)
    more = make_parts(**spec, lora=LORA | {"targets": ["q_proj", "v_proj"]})

    with pytest.raises(StoreError, match=r"does not fit this stage's model.*v_proj\.lora_A"):
        more.learner.load(tmp_path)


def test_without_a_checkpoint_a_stage_begins_at_the_start(make_parts) -> None:
    assert make_parts().checkpoints().resume() == Position(0, 0, 0)


def test_the_newest_checkpoints_are_kept(make_parts, spec) -> None:
    parts = make_parts(**spec)

    for step in (8, 9, 10, 11):
        parts.checkpoints().save(Position(step, step, 0))

    assert saved_steps(parts) == ["step-000010", "step-000011"]
    assert parts.checkpoints().resume().step == 11


def test_a_half_written_checkpoint_is_ignored_and_replaced(make_parts, spec, train) -> None:
    parts = make_parts(**spec)
    train(parts, 1)
    parts.checkpoints().save(Position(1, 1, 4))
    after_one = weights(parts)
    train(parts, 1)
    parts.checkpoints().save(Position(2, 2, 8))
    newest = Path(parts.job.output, "checkpoints", "step-000002")
    (newest / "manifest.json").unlink()
    next(newest.rglob("*optim_states.pt")).write_bytes(b"half")

    resumed = make_parts(**spec)

    assert resumed.checkpoints().resume() == Position(1, 1, 4)
    assert equal(weights(resumed), after_one)
    resumed.checkpoints().save(Position(2, 2, 8))
    assert make_parts(**spec).checkpoints().resume() == Position(2, 2, 8)


def test_a_checkpoint_that_was_cut_off_is_named(make_parts, spec) -> None:
    parts = make_parts(**spec)
    parts.checkpoints().save(Position(1, 1, 4))
    state = next(Path(parts.job.output, "checkpoints").rglob("*optim_states.pt"))
    state.write_bytes(state.read_bytes()[:-1])

    with pytest.raises(StoreError, match=r"optim_states\.pt has \d+ bytes, its manifest says"):
        make_parts(**spec).checkpoints().resume()


def test_checkpoints_of_another_spec_are_refused(make_parts, spec, rl) -> None:
    parts = make_parts(**spec)
    parts.checkpoints().save(Position(3, 3, 4))

    with pytest.raises(InvalidInput, match=r"another spec or other inputs and stopped at step 3"):
        make_parts(**rl(steps=7)).checkpoints().resume()


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Have the system refuse longer files, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class FullStore(FolderStore):
    """A store on a disk that has no room for a checkpoint."""

    def child(self, prefix: str) -> FolderStore:
        return FullStore(self.path(prefix))

    def publish(self, tree: Path, prefix: str) -> str:
        with largest_file(10_000):
            return super().publish(tree, prefix)


def test_a_store_without_room_is_named_and_the_earlier_checkpoint_stays(make_parts, spec) -> None:
    parts = make_parts(**spec)
    parts.checkpoints().save(Position(1, 1, 4))
    full = FullStore(Path(parts.job.output))
    checkpoints = Checkpoints(full, parts.learner, identity="any", plan=Checkpoint(keep=1))

    with pytest.raises(StoreError, match=r"checkpoints/step-000002; nothing was published.*limit"):
        checkpoints.save(Position(2, 2, 8))

    assert parts.checkpoints().resume() == Position(1, 1, 4)


def test_a_machine_without_room_is_named_and_the_earlier_checkpoint_stays(make_parts, spec) -> None:
    parts = make_parts(**spec)
    parts.checkpoints().save(Position(1, 1, 4))

    with (
        largest_file(10_000),
        pytest.raises(StoreError, match=r"cannot write the learner's state to .*assay-checkpoint-"),
    ):
        parts.checkpoints().save(Position(2, 2, 8))

    assert parts.checkpoints().resume() == Position(1, 1, 4)
