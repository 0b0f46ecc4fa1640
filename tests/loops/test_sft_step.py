"""A stage of SFT with a played learner: which tokens each step learns, and by how much."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from made_clips import clip_row, numbered_frames, place_of, publish_rows
from played_engines import PlayedEncoder, PlayedLearner, PlayedRanks, played_parts

from assay_api import ResolvedStageJob, StopRequest
from assay_api.layout import stop_file
from assay_data.lessons import Example
from assay_trainer.families.batch import MicroBatch
from assay_trainer.loops import sft_job
from assay_trainer.loops.parts import StageParts
from assay_trainer.loops.sft import run_sft
from assay_trainer.loops.sft_job import run_supervised, task_examples
from assay_trainer.metrics_log import read_metrics

END = 1
RESPONSES = ("a", "bb", "ccc", "dddd", "eeeee")
"""Of the clips to train on, in order; with the end, 2 to 6 tokens."""
TAUGHT = [[*map(ord, response), END] for response in RESPONSES]
ORDER = (1, 2, 3, 0, 4, 0, 4, 1, 3, 2)
"""Two rounds of five by the seed 0: the doctest of `shuffled_order`."""
Orders = Callable[..., ResolvedStageJob]


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of five clips to train on, a held-out one first and last, all with examples."""

    def row(name: str, response: str, split: str = "Train") -> Any:
        examples = (Example("Judge", "so", "0.5"), Example("Describe", "", response))
        return clip_row(name, split=split, examples=examples)

    rows = [row("held1", "X", "Test"), *map(row, "vwxyz", RESPONSES), row("held2", "Y", "Test")]
    return publish_rows(tmp_path_factory.mktemp("lessons"), rows, frames=numbered_frames).url


@pytest.fixture
def orders(played_orders: Orders, lessons: str, tmp_path: Path) -> Orders:
    """Write the orders of one stage of SFT on those clips: it may be run again."""

    def write(
        *, placement: dict[str, int] | None = None, every: int = 1, **method: Any
    ) -> ResolvedStageJob:
        sft = {"task": "Describe", "steps": 4, "examplesPerStep": 2} | method
        checkpoint = {"every": every, "keep": 9}
        job = played_orders(sft=sft, placement=placement or {}, checkpoint=checkpoint)
        return job.model_copy(update={"dataset": lessons, "output": str(tmp_path / "stage")})

    return write


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[StageParts]:
    """The parts of each stage whose model was published."""
    found: list[StageParts] = []
    monkeypatch.setattr(sft_job, "publish_model", found.append)
    return found


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, published: list[StageParts]
) -> Callable[..., tuple[bool, StageParts]]:
    """Run a stage with a played learner; return whether it came to its end, and its parts."""

    def run_stage(
        job: ResolvedStageJob, learner: PlayedLearner | None = None
    ) -> tuple[bool, StageParts]:
        parts = played_parts(job, learner)

        def build(job: ResolvedStageJob, *, temperature: float) -> StageParts:
            assert temperature == 1, "the examples were not sampled"
            return parts

        monkeypatch.setattr(sft_job, "build_parts", build)
        return run_supervised(job), parts

    return run_stage


def taught(learner: Any) -> list[list[list[int]]]:
    """Return the completions of each step."""
    return [[ids for one in step for ids in one.completions] for step in learner.updates]


def test_each_step_learns_the_next_examples_of_a_shuffled_stream(
    run: Callable[..., tuple[bool, StageParts]], orders: Orders, published: list[StageParts]
) -> None:
    finished, parts = run(orders(steps=5))

    assert taught(parts.learner) == [
        [TAUGHT[ORDER[place]], TAUGHT[ORDER[place + 1]]] for place in range(0, 10, 2)
    ]
    assert finished and published == [parts]


def test_every_token_weighs_one_part_of_all_tokens_of_the_step(
    run: Callable[..., tuple[bool, StageParts]], orders: Orders
) -> None:
    """Log-probabilities: a tenth of the place in the alphabet, counted from 1; of an end: -2."""
    learner = PlayedLearner(logprob=lambda token: -2.0 if token == END else -(token - 96) / 10)

    _, parts = run(orders(steps=2), learner)

    (first,), (second,) = learner.updates
    assert first.gradients == [pytest.approx([-1 / 7] * 3), pytest.approx([-1 / 7] * 4)]
    assert second.gradients == [pytest.approx([-1 / 7] * 5), pytest.approx([-1 / 7] * 2)]
    metrics = read_metrics(parts.store)
    told = ("loss", "grad_norm", "learning_rate", "examples_seen")
    # bb, ccc: 2 * 0.2 + 2 + 3 * 0.3 + 2; dddd, a: 4 * 0.4 + 2 + 0.1 + 2.
    assert [metrics[1][name] for name in told] == pytest.approx([5.3 / 7, 7, 0.001, 2])
    assert [metrics[2][name] for name in told] == pytest.approx([5.7 / 7, 7, 0.002, 4])
    assert sorted(metrics) == [1, 2]


def test_an_example_is_asked_in_think_mode_about_its_own_clip(
    run: Callable[..., tuple[bool, StageParts]], orders: Orders
) -> None:
    _, parts = run(orders(steps=2))

    assert isinstance(parts.encoder, PlayedEncoder)
    prompt = (
        "<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>Real? /think<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert parts.encoder.asked == [(prompt, 0)] * 4
    learner: Any = parts.learner
    batches = [one.batch for step in learner.updates for one in step]
    # The first place of the dataset is a held-out clip's.
    assert [places_of(batch) for batch in batches] == [[2, 3], [4, 1]]
    for batch in batches:
        for row, (ids, place) in enumerate(
            zip(batch.completion_ids, batch.predictor[:, 0], strict=True)
        ):
            assert batch.input_ids[row, place + 1] == ids[0], "the answer follows the prompt"


def places_of(batch: MicroBatch) -> list[int]:
    """Return the place of each row's clip in the dataset."""
    pixels = [batch.visuals[number].pixel_values for number in batch.visual_of_row]
    return [place_of(frames.byte().numpy()) for frames in pixels]


def test_an_example_that_judges_is_asked_with_frames_as_images(
    run: Callable[..., tuple[bool, StageParts]], orders: Orders
) -> None:
    _, parts = run(orders(task="Judge", framesAsImages=2, steps=1))

    assert isinstance(parts.encoder, PlayedEncoder)
    assert [images for _, images in parts.encoder.asked] == [2, 2]
    assert all(text.count("<|image_pad|>") == 2 for text, _ in parts.encoder.asked)
    assert taught(parts.learner) == [[[*map(ord, "0.5"), END]] * 2]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_size_of_micro_batches_changes_no_weight(
    run: Callable[..., tuple[bool, StageParts]], orders: Orders, size: int
) -> None:
    learner = PlayedLearner()

    _, parts = run(orders(steps=1, examplesPerStep=5, placement={"microBatch": size}), learner)

    (step,) = learner.updates
    assert [len(one.completions) for one in step] == {1: [1] * 5, 2: [2, 2, 1], 3: [3, 2]}[size]
    assert taught(learner) == [[TAUGHT[place] for place in ORDER[:5]]]
    # 2 to 6 tokens: 20.
    flat = [weight for one in step for row in one.gradients for weight in row]
    assert flat == pytest.approx([-1 / 20] * 20)
    assert read_metrics(parts.store)[1]["loss"] == pytest.approx(1)


def run_ranks(job: ResolvedStageJob, world_size: int) -> list[PlayedLearner]:
    """Run the loop on so many ranks; return their learners."""
    ranks = PlayedRanks(world_size)
    learners = [PlayedLearner(ranks, rank) for rank in range(world_size)]

    def one(rank: int) -> None:
        parts = played_parts(job, learners[rank])
        sft = job.stage.spec.sft
        assert sft is not None
        examples = task_examples(parts.prompts, sft, parts.dataset)
        run_sft(parts, examples, sft.examples_per_step)

    ranks.run(one)
    return learners


def test_ranks_share_the_examples_of_a_step_and_divide_by_the_tokens_of_all(
    orders: Orders,
) -> None:
    job = orders(steps=2, examplesPerStep=4, placement={"learners": 2})

    first, second = run_ranks(job, 2)

    assert taught(first) == [[TAUGHT[1], TAUGHT[3]], [TAUGHT[4], TAUGHT[4]]]
    assert taught(second) == [[TAUGHT[2], TAUGHT[0]], [TAUGHT[0], TAUGHT[1]]]
    for learner in (first, second):
        ((one,), (other,)) = learner.updates
        # 3 + 4 + 5 + 2 tokens, then 6 + 2 + 6 + 3.
        for learned, num_tokens in ((one, 14), (other, 17)):
            for row in learned.gradients:
                assert row == pytest.approx([-1 / num_tokens] * len(row))
    metrics = read_metrics(played_parts(job).store)
    assert [metrics[step]["loss"] for step in (1, 2)] == pytest.approx([1, 1])
    assert [metrics[step]["examples_seen"] for step in (1, 2)] == [4, 8]


def test_examples_that_the_ranks_cannot_share_evenly_are_refused(orders: Orders) -> None:
    job = orders(examplesPerStep=4)

    with pytest.raises(
        ValueError, match=r"examplesPerStep \(4\) must be a multiple of placement.learners \(3\)"
    ):
        run_ranks(job, 3)


class Interrupted(PlayedLearner):
    """A learner that dies in an update, or in whose third one a request comes."""

    def __init__(self, dies_at: int, last_words: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.dies_at, self.last_words = dies_at, last_words

    def update(self, work: Sequence[Any]) -> Any:
        if len(self.updates) == self.dies_at:
            if self.last_words is None:
                raise KeyboardInterrupt
            self.last_words()
        return super().update(work)


@pytest.mark.parametrize("dies_at", range(5))
def test_a_stage_that_died_learns_the_rest_and_nothing_twice(
    run: Callable[..., tuple[bool, StageParts]],
    orders: Orders,
    published: list[StageParts],
    dies_at: int,
) -> None:
    learner = Interrupted(dies_at)
    with pytest.raises(KeyboardInterrupt):
        run(orders(steps=5), learner)
    assert published == []

    finished, parts = run(orders(steps=5))

    assert finished and published == [parts]
    rest: Any = parts.learner
    assert taught(learner) + taught(rest) == [
        [TAUGHT[ORDER[place]], TAUGHT[ORDER[place + 1]]] for place in range(0, 10, 2)
    ]
    assert read_metrics(parts.store)[5]["examples_seen"] == 10
    # The learner's own state came with it: it counts its updates.
    assert rest.num_updates == 5


def test_checkpoints_come_as_often_as_planned_and_at_the_end(
    run: Callable[..., tuple[bool, StageParts]], orders: Orders
) -> None:
    job = orders(steps=5, every=2)

    _, parts = run(job)

    saved = sorted(path.name for path in Path(job.output, "checkpoints").glob("step-*"))
    assert saved == ["step-000002", "step-000004", "step-000005"]
    assert parts.checkpoints().resume().cursor == 10


def test_a_stage_that_is_asked_to_stop_saves_and_publishes_nothing(
    run: Callable[..., tuple[bool, StageParts]], orders: Orders, published: list[StageParts]
) -> None:
    job = orders(steps=5, every=9)

    def ask() -> None:
        request = StopRequest(uid="u", requested_at=datetime.now(UTC))
        played_parts(job).store.write(stop_file(1), request.model_dump_json(by_alias=True).encode())

    learner = Interrupted(2, ask)

    finished, parts = run(job, learner)

    assert (finished, published, len(learner.updates)) == (False, [], 3)
    assert parts.checkpoints().resume().step == 3
