import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_api import EngineError, ThinkingMode
from assay_data.store import open_store
from assay_trainer.loops import fusion
from assay_trainer.loops.fusion import COLLECTED, both_modes, without_thinking
from assay_trainer.loops.samples import (
    RightSample,
    choose,
    clips_answered,
    next_clips,
    right_samples,
)
from assay_trainer.records import PromptItem, Rollout
from assay_trainer.rollout.sampler import Sample


def prompt(row_id: str, label: str) -> PromptItem:
    return PromptItem(row_id, label, ThinkingMode.THINK, text="", question="")


def rollout(text: str) -> Rollout:
    return Rollout((1,), (-0.5,), text, truncated=False, policy_version=0)


def says(letter: str, thinking: str = "It is smooth.") -> Rollout:
    return rollout(f"<think>{thinking}</think><answer>{letter}</answer>")


def row(row_id: str, label: str) -> Any:
    """A row as far as the order of clips needs one."""
    return SimpleNamespace(row_id=row_id, label=label)


def sample(row_id: str, text: str = "text") -> RightSample:
    return RightSample(row_id, {"r": "real", "f": "fake"}[row_id[0]], text)


def test_only_right_samples_with_reasoning_count_and_each_once() -> None:
    drawn = [
        *(says("B"), says("B", "It flickers."), says("B"), says("A"), says("B", " \n")),
        *(rollout("<answer>B</answer>"), rollout("<think>Cut off")),
    ]

    right = right_samples(prompt("f", "fake"), drawn)

    assert right == [sample("f", says("B").text), sample("f", says("B", "It flickers.").text)]


def test_each_clip_gives_one_sample_before_any_gives_a_second() -> None:
    samples = [sample("r1", "a"), sample("r1", "b"), sample("f1"), sample("r2", "c")]

    assert choose(samples, 2) == [sample("r1", "a"), sample("r2", "c"), sample("f1")]
    assert choose(samples, 3) == [
        *(sample("r1", "a"), sample("r2", "c"), sample("r1", "b"), sample("f1"))
    ]


def test_a_class_that_has_enough_is_passed_over() -> None:
    order = [row(name, "real" if name[0] == "r" else "fake") for name in ("r1", "f1", "r2", "f2")]

    assert next_clips(order, 0, {}, 2, 3) == (order[:3], 3)
    assert next_clips(order, 1, {"real": 2, "fake": 1}, 2, 3) == ([order[1], order[3]], 4)
    assert next_clips(order, 0, {"real": 2, "fake": 2}, 2, 3) == ([], 4)


@given(
    right=st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=1, max_size=30),
    wanted=st.integers(1, 6),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_what_is_chosen_does_not_depend_on_how_many_clips_are_sampled_at_once(
    right, wanted, sizes
) -> None:
    """`right` says of each clip whether it is real, and how many of its samples are right."""
    order = [
        row(f"{'r' if is_real else 'f'}{i}", "real" if is_real else "fake")
        for i, (is_real, _) in enumerate(right)
    ]
    drawn = {
        clip.row_id: [sample(clip.row_id, f"{n}") for n in range(num_right)]
        for clip, (_, num_right) in zip(order, right, strict=True)
    }

    def collected(at_once: int) -> list[RightSample]:
        samples: list[RightSample] = []
        clips, place = next_clips(order, 0, {}, wanted, at_once)
        while clips:
            samples += [one for clip in clips for one in drawn[clip.row_id]]
            clips, place = next_clips(order, place, clips_answered(samples), wanted, at_once)
        return choose(samples, wanted)

    one, other = (collected(size) for size in sizes)

    assert one == other
    everything = [one for clip in order for one in drawn[clip.row_id]]
    for label in ("real", "fake"):
        there = sum(found.label == label for found in everything)
        assert sum(found.label == label for found in one) == min(wanted, there)


class PlayedPool:
    """Answers from a table of the texts that a clip is answered with; may die before a call."""

    def __init__(self, answers: Callable[[str], str], dies_at: int | None = None) -> None:
        self.sizes: list[int] = []
        self._answers, self._dies_at = answers, dies_at

    def wait_ready(self) -> None:
        pass

    def sample(self, requests, plan):
        if len(self.sizes) == self._dies_at:
            raise KeyboardInterrupt
        self.sizes.append(len(requests))
        return [
            [Sample(rollout(self._answers(request.row_id))) for _ in range(plan.num_samples)]
            for request in requests
        ]


@pytest.fixture
def collects(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, orders):
    """Collect for a stage of this name on so many clips with a played pool."""
    monkeypatch.setattr(fusion, "ray_cluster", lambda engines: nullcontext())

    def run(name: str, num_clips: int, pool: PlayedPool, **method: int) -> Path:
        rows = [row(f"{'rf'[i % 2]}{i}", ("real", "fake")[i % 2]) for i in range(num_clips)]
        dataset = SimpleNamespace(digest="d", rows=lambda split: rows)
        monkeypatch.setattr(fusion.ClipDataset, "open", lambda store: dataset)
        monkeypatch.setattr(fusion, "start_pool", lambda job, **_: pool)
        spec = {"fusion": {"steps": 1, "samplesPerClip": 64, **method}}
        fusion.collect(orders(tmp_path / name, spec))
        return tmp_path / name / COLLECTED

    return run


def truth(row_id: str) -> str:
    """Right about two clips of three."""
    letter = {"r": "A", "f": "B"}[row_id[0]]
    return says(letter if int(row_id[1:]) % 3 else "?", f"About {row_id}.").text


def test_the_requests_at_once_do_not_grow_with_the_clips(collects) -> None:
    few, many = PlayedPool(truth), PlayedPool(truth)

    collects("few", 12, few, maxExamples=1000)
    collects("many", 300, many, maxExamples=1000)

    assert (sum(few.sizes), sum(many.sizes)) == (12, 300)
    assert max(few.sizes) == max(many.sizes) == 4


def test_sampling_ends_when_there_is_enough_of_each_class(collects) -> None:
    pool = PlayedPool(truth)

    text = collects("enough", 300, pool, maxExamples=20).read_text()

    names = [pair["row_id"] for pair in json.loads(text)["samples"]]
    assert sorted(name[0] for name in names) == ["f"] * 10 + ["r"] * 10
    assert 20 < sum(pool.sizes) < 60
    assert sorted(names, key=lambda name: int(name[1:])) != names, "in the dataset's order"


@pytest.mark.parametrize("dies_at", range(5))
def test_a_killed_collection_goes_on_after_its_last_chunk(collects, dies_at: int) -> None:
    undisturbed = collects("whole", 40, PlayedPool(truth), maxExamples=14)
    with pytest.raises(KeyboardInterrupt):
        collects("killed", 40, PlayedPool(truth, dies_at), maxExamples=14)
    rest = PlayedPool(truth)

    killed = collects("killed", 40, rest, maxExamples=14)

    assert killed.read_bytes() == undisturbed.read_bytes()
    whole = PlayedPool(truth)
    collects("again", 40, whole, maxExamples=14)
    assert rest.sizes == whole.sizes[dies_at:]
    assert not (killed.parent / "collection").exists()


def test_chunks_of_another_stage_and_damaged_ones_are_made_anew(
    collects, caplog, tmp_path: Path
) -> None:
    for wanted in (16, 18):
        with pytest.raises(KeyboardInterrupt):
            collects("killed", 40, PlayedPool(truth, 3), maxExamples=wanted)
    (tmp_path / "killed/collection/chunk-000001.json").write_text("{")
    rest, whole = PlayedPool(truth), PlayedPool(truth)

    collects("killed", 40, rest, maxExamples=18)
    collects("other", 40, whole, maxExamples=18)

    assert "chunk-000001.json is damaged" in caplog.text
    assert rest.sizes == whole.sizes[1:]


@pytest.mark.parametrize("missing", ["real", "fake"])
def test_a_class_without_a_right_sample_ends_the_stage(collects, missing: str) -> None:
    """The message shows an answer, so that whoever reads it sees why none counts."""
    says_always = says("B" if missing == "real" else "A", "Hm.").text

    with pytest.raises(
        EngineError,
        match=rf"of the model's 256 samples none is right, with reasoning, about a {missing} clip"
        rf".*<think>Hm.</think>.*samplesPerClip",
    ):
        collects("none", 4, PlayedPool(lambda row_id: says_always))


def test_a_sample_without_thinking_keeps_its_answer() -> None:
    text = "<think>Wait.</think>\n<answer> B </answer>"

    assert without_thinking(text) == "<think></think><answer>B</answer>"


def test_each_collected_sample_becomes_an_example_in_both_modes(orders, tmp_path: Path) -> None:
    job = orders(tmp_path, {"fusion": {"steps": 1}})
    text = "<think>Odd.</think><answer>B</answer>"
    content = {"identity": "any", "samples": [{"row_id": "v1", "text": text}]}
    open_store(job.output).write(COLLECTED, json.dumps(content).encode())

    think, no_think = both_modes(job)

    assert (think.row_id, think.completion) == ("v1", f"{text}<|im_end|>")
    assert think.prompt.endswith(" /think<|im_end|>\n<|im_start|>assistant\n")
    assert (no_think.row_id, no_think.completion) == (
        "v1",
        "<think></think><answer>B</answer><|im_end|>",
    )
    assert no_think.prompt.endswith(" /no_think<|im_end|>\n<|im_start|>assistant\n")
