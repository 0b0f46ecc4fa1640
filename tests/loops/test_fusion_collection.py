"""Fusion with played samplers: what is asked of which clips, kept, and learned in both modes."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_clips import clip_row, numbered_frames, place_of, publish_rows
from played_engines import END_ID, PlayedLearner, PlayedPool, played_parts, said

from assay_api import EngineError, ResolvedStageJob
from assay_data.dataset.order import derived_seed, shuffled_order
from assay_trainer.loops import fusion, sft_job
from assay_trainer.loops.fusion import COLLECTED
from assay_trainer.loops.parts import StageParts
from assay_trainer.loops.sft_job import run_supervised
from assay_trainer.rollout.sampler import ClipRequest, Sample, SamplingPlan

ASKED = "<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>Real? {}<|im_end|>\n"
ASKED += "<|im_start|>assistant\n"
ROWS = (
    *(clip_row(f"r{number}", generator="real") for number in range(3)),
    clip_row("unknown", label="", generator=""),
    *(clip_row(f"f{number}", label="fake", generator="sora") for number in range(3)),
    *(clip_row(f"held-{label}", label=label, split="Test") for label in ("real", "fake")),
)
TO_TRAIN_ON = ("r0-0", "r1-0", "r2-0", "f0-0", "f1-0", "f2-0")
"""The rows in the dataset's order, less those that are held out or have no label."""
Orders = Callable[..., ResolvedStageJob]
Answer = Callable[[str], str]
"""What every sample about a clip says."""


def says(letter: str, thinking: str) -> str:
    return f"<think>{thinking}</think><answer>{letter}</answer>"


def right(row_id: str) -> str:
    return says("A" if row_id[0] == "r" else "B", f"About {row_id}.")


class MortalPool(PlayedPool):
    """Says the same in each sample about a clip; may die before a call."""

    def __init__(self, answer: Answer, dies_at: int | None = None) -> None:
        def script(request: ClipRequest, plan: SamplingPlan) -> Sequence[Sample]:
            return [said(answer(request.row_id))] * plan.num_samples

        super().__init__(script)
        self.dies_at = dies_at

    def sample(
        self, requests: Sequence[ClipRequest], plan: SamplingPlan
    ) -> list[tuple[Sample, ...]]:
        assert self.is_ready
        if len(self.asked) == self.dies_at:
            raise KeyboardInterrupt
        return super().sample(requests, plan)

    @property
    def sizes(self) -> list[int]:
        """How many clips it was asked about at once."""
        return [len(requests) for requests, _ in self.asked]


def samples_of(collected: Path) -> list[tuple[str, str]]:
    """Return the row and text of all that is learned from."""
    return [(one["row_id"], one["text"]) for one in json.loads(collected.read_text())["samples"]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[[PlayedPool], list[dict[str, Any]]]:
    """Play the engines of a stage that collects; return what it starts them with."""

    def run(pool: PlayedPool) -> list[dict[str, Any]]:
        started: list[dict[str, Any]] = []

        def open_cluster(num_engines: int) -> AbstractContextManager[None]:
            started.append({"engines": num_engines})
            return nullcontext()

        def start_pool(job: ResolvedStageJob, **how: Any) -> PlayedPool:
            started[-1] |= how
            return pool

        monkeypatch.setattr(fusion, "ray_cluster", open_cluster)
        monkeypatch.setattr(fusion, "start_pool", start_pool)
        return started

    return run


@pytest.fixture(scope="module")
def few_clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    return publish_rows(tmp_path_factory.mktemp("few"), ROWS, frames=numbered_frames).url


@pytest.fixture
def orders(played_orders: Orders, few_clips: str, tmp_path: Path) -> Orders:
    """Write the orders of one fusion stage on those rows: it may be run again."""

    def write(*, placement: dict[str, int] | None = None, seed: int = 0, **method: Any) -> Any:
        spec = {"steps": 1, "samplesPerClip": 2, "maxCompletionTokens": 33} | method
        job = played_orders(fusion=spec, placement=placement or {}, seed=seed)
        return job.model_copy(update={"dataset": few_clips, "output": str(tmp_path / "stage")})

    return write


def test_each_labelled_clip_to_train_on_is_asked_about_in_think_mode(
    start: Callable[..., Any], orders: Orders
) -> None:
    pool = MortalPool(right)
    started = start(pool)

    assert fusion.collect(orders(temperature=0.6, seed=4, placement={"rollouts": 2}))

    # Only the weights that the stage starts from, without adapters, sample.
    assert started == [{"engines": 2, "max_completion_tokens": 33, "lora": None}]
    ((requests, plan),) = pool.asked
    assert plan == SamplingPlan(num_samples=2, max_tokens=33, temperature=0.6)
    order = shuffled_order(6, derived_seed(4, "fusion"), 0)
    expected = [TO_TRAIN_ON[place] for place in order]
    assert [request.row_id for request in requests] == expected != list(TO_TRAIN_ON)
    assert {request.text for request in requests} == {ASKED.format("/think")}
    assert [request.seed for request in requests] == [
        derived_seed(4, "fusion", row_id) for row_id in expected
    ]
    assert len({request.seed for request in requests}) == 6


def test_the_first_right_samples_with_reasoning_of_each_class_are_kept(
    start: Callable[..., Any], orders: Orders, tmp_path: Path
) -> None:
    """Half of `maxExamples` of each class, in the order that the seed shuffles."""
    drawn = {
        "r0-0": [says("B", "wrong"), says("A", "first")],
        "r1-0": [says("A", "second"), says("A", "more")],
        "r2-0": [says("A", " "), "<answer>A</answer>"],
        "f0-0": [says("B", "third"), says("B", "third")],
        "f1-0": [says("A", "wrong"), says("A", "wrong")],
        "f2-0": [says("B", "fourth"), says("B", "more")],
    }
    start(PlayedPool(lambda request, plan: [said(text) for text in drawn[request.row_id]]))

    fusion.collect(orders(maxExamples=4))

    kept = samples_of(tmp_path / "stage" / COLLECTED)
    assert sorted(kept) == [
        ("f0-0", says("B", "third")),
        ("f2-0", says("B", "fourth")),
        ("r0-0", says("A", "first")),
        ("r1-0", says("A", "second")),
    ]
    order = [TO_TRAIN_ON[place] for place in shuffled_order(6, derived_seed(0, "fusion"), 0)]
    for kind in "rf":
        of_kind = [row_id for row_id, _ in kept if row_id[0] == kind]
        assert of_kind == sorted(of_kind, key=order.index)


def test_what_was_collected_is_learned_in_both_modes(
    start: Callable[..., Any], orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two samples make four examples: all in one step, each with its own prompt."""
    start(MortalPool(right))
    learner, published = PlayedLearner(), list[StageParts]()
    parts: Any = None

    def build(job: ResolvedStageJob, *, temperature: float) -> StageParts:
        nonlocal parts
        assert temperature == 1
        parts = played_parts(job, learner)
        return parts  # type: ignore[no-any-return]

    monkeypatch.setattr(sft_job, "build_parts", build)
    monkeypatch.setattr(sft_job, "publish_model", published.append)
    job = orders(maxExamples=2, examplesPerStep=4)

    assert run_supervised(job)

    kept = samples_of(Path(job.output) / COLLECTED)
    assert len(kept) == 2
    asked = [text for text, images in parts.encoder.asked if images == 0]
    ((learned,),) = learner.updates
    completions = ["".join(map(chr, ids[:-1])) for ids in learned.completions]
    assert all(ids[-1] == END_ID for ids in learned.completions)
    pixels = [learned.batch.visuals[i].pixel_values for i in learned.batch.visual_of_row]
    shown = [ROWS[place_of(frames.byte().numpy())].row_id for frames in pixels]
    think, no_think = ASKED.format("/think"), ASKED.format("/no_think")
    letters = {"r": "A", "f": "B"}
    assert sorted(zip(asked, shown, completions, strict=True)) == sorted(
        [(think, row_id, text) for row_id, text in kept]
        + [
            (no_think, row_id, f"<think></think><answer>{letters[row_id[0]]}</answer>")
            for row_id, _ in kept
        ]
    )
    assert published == [parts]


def test_a_collection_that_is_there_is_not_made_again(
    start: Callable[..., Any], orders: Orders
) -> None:
    started = start(MortalPool(right))
    assert fusion.collect(orders(maxExamples=2))
    assert fusion.collect(orders(maxExamples=2))
    assert len(started) == 1
    # Another spec is another stage.
    assert fusion.collect(orders(maxExamples=4))
    assert len(started) == 2


@pytest.mark.parametrize(("temperature", "sizes"), [(1.0, [2, 2]), (0.5, [2, 2, 2])])
def test_only_what_the_same_stage_has_sampled_is_gone_on_from(
    start: Callable[..., Any],
    orders: Orders,
    monkeypatch: pytest.MonkeyPatch,
    temperature: float,
    sizes: list[int],
) -> None:
    monkeypatch.setattr(fusion, "CLIPS_PER_ENGINE", 2)
    spec = {"maxExamples": 100, "samplesPerClip": 1}
    start(MortalPool(right, dies_at=1))
    with pytest.raises(KeyboardInterrupt):
        fusion.collect(orders(**spec))

    pool = MortalPool(right)
    start(pool)
    assert fusion.collect(orders(**spec, temperature=temperature))

    assert pool.sizes == sizes


@pytest.mark.parametrize(("rollouts", "sizes"), [(1, [2, 2, 2]), (2, [4, 2])])
def test_no_more_than_so_many_clips_an_engine_are_asked_about_at_once(
    start: Callable[..., Any],
    orders: Orders,
    monkeypatch: pytest.MonkeyPatch,
    rollouts: int,
    sizes: list[int],
) -> None:
    monkeypatch.setattr(fusion, "CLIPS_PER_ENGINE", 2)
    pool = MortalPool(right)
    start(pool)

    spec = {"maxExamples": 100, "samplesPerClip": 1}
    fusion.collect(orders(placement={"rollouts": rollouts}, **spec))

    assert pool.sizes == sizes


@pytest.fixture
def collects(
    monkeypatch: pytest.MonkeyPatch,
    start: Callable[..., Any],
    played_orders: Orders,
    tmp_path: Path,
) -> Callable[..., Path]:
    """Collect for a stage of this name on so many clips with a played pool."""

    def run(name: str, num_clips: int, pool: PlayedPool, **method: int) -> Path:
        rows = [
            clip_row(f"{'rf'[i % 2]}{i}", row_id=f"{'rf'[i % 2]}{i}", label=("real", "fake")[i % 2])
            for i in range(num_clips)
        ]
        dataset = SimpleNamespace(digest="d", rows=lambda split: rows)
        monkeypatch.setattr(fusion.ClipDataset, "open", lambda store: dataset)
        start(pool)
        job = played_orders(fusion={"steps": 1, "samplesPerClip": 64, **method})
        fusion.collect(job.model_copy(update={"output": str(tmp_path / name)}))
        return tmp_path / name / COLLECTED

    return run


def truth(row_id: str) -> str:
    """Right about two clips of three."""
    letter = {"r": "A", "f": "B"}[row_id[0]]
    return says(letter if int(row_id[1:]) % 3 else "?", f"About {row_id}.")


def test_the_requests_at_once_do_not_grow_with_the_clips(collects: Callable[..., Path]) -> None:
    few, many = MortalPool(truth), MortalPool(truth)

    collects("few", 12, few, maxExamples=1000)
    collects("many", 300, many, maxExamples=1000)

    assert (sum(few.sizes), sum(many.sizes)) == (12, 300)
    # 256 completions, 64 about each.
    assert max(few.sizes) == max(many.sizes) == 4


def test_sampling_ends_when_there_is_enough_of_each_class(collects: Callable[..., Path]) -> None:
    pool = MortalPool(truth)

    names = [row_id for row_id, _ in samples_of(collects("enough", 300, pool, maxExamples=20))]

    assert sorted(name[0] for name in names) == ["f"] * 10 + ["r"] * 10
    assert 20 < sum(pool.sizes) < 60
    assert sorted(names, key=lambda name: int(name[1:])) != names, "in the dataset's order"


@pytest.mark.parametrize("dies_at", range(5))
def test_a_killed_collection_goes_on_after_its_last_chunk(
    collects: Callable[..., Path], dies_at: int
) -> None:
    undisturbed = collects("whole", 40, MortalPool(truth), maxExamples=14)
    with pytest.raises(KeyboardInterrupt):
        collects("killed", 40, MortalPool(truth, dies_at), maxExamples=14)
    rest = MortalPool(truth)

    killed = collects("killed", 40, rest, maxExamples=14)

    assert killed.read_bytes() == undisturbed.read_bytes()
    whole = MortalPool(truth)
    collects("again", 40, whole, maxExamples=14)
    assert rest.sizes == whole.sizes[dies_at:]
    assert not (killed.parent / "collection").exists()


def test_chunks_of_another_stage_and_damaged_ones_are_made_anew(
    collects: Callable[..., Path], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    for wanted in (16, 18):
        with pytest.raises(KeyboardInterrupt):
            collects("killed", 40, MortalPool(truth, 3), maxExamples=wanted)
    (tmp_path / "killed/collection/chunk-000001.json").write_text("{")
    rest, whole = MortalPool(truth), MortalPool(truth)

    collects("killed", 40, rest, maxExamples=18)
    collects("other", 40, whole, maxExamples=18)

    assert "chunk-000001.json is damaged" in caplog.text
    assert rest.sizes == whole.sizes[1:]


@pytest.mark.parametrize("missing", ["real", "fake"])
def test_a_class_without_a_right_sample_ends_the_stage(
    collects: Callable[..., Path], missing: str
) -> None:
    """The message shows an answer, so that whoever reads it sees why none counts."""
    says_always = says("B" if missing == "real" else "A", "Hm.")

    with pytest.raises(
        EngineError,
        match=rf"of the model's 256 samples none is right, with reasoning, about a {missing} clip"
        rf".*<think>Hm.</think>.*samplesPerClip",
    ):
        collects("none", 4, MortalPool(lambda row_id: says_always))
