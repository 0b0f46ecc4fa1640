"""What a stage cannot use is told when its dataset is opened, before a model or an engine."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_clips import clip_row, publish_rows

from assay_api import InvalidInput
from assay_api.prompt import Prompt
from assay_api.stage import Rl, Sft
from assay_data.dataset import ClipDataset, ClipRow
from assay_data.dataset.usable import Lack, count_lacks, usable_rows
from assay_data.lessons import Example
from assay_trainer.chat import conversation
from assay_trainer.loops import build_parts as building
from assay_trainer.loops import fusion
from assay_trainer.loops.sft_job import task_examples
from assay_trainer.prompts.row_prompts import RowPrompts
from assay_trainer.required_rows import check_rows
from assay_trainer.rollout.prompt_length import longest_prompt_tokens

GOOD = (clip_row("r"), clip_row("f", label="fake", generator="sora"))
SINGLE = clip_row("single", timestamps_seconds=(0.0,))
TEXT = clip_row("text", label="", timestamps_seconds=(), width=0, height=0)
UNLABELLED = clip_row("unlabelled", label="", generator="")
BAD = (SINGLE, TEXT, UNLABELLED)
HELD_OUT = clip_row("held", split="Test")
LESSON = (Example("Describe", "", "It is."),)


def opened(tmp_path: Path, rows: Sequence[ClipRow]) -> ClipDataset:
    return ClipDataset.open(publish_rows(tmp_path, rows))


def method(name: str) -> Any:
    given = {name: Sft(task="Describe", steps=1) if name == "sft" else Rl(steps=1)}
    none = {"rl": None, "sft": None, "fusion": None}
    return SimpleNamespace(**none | given, prompt=Prompt(question="Is it?"))


def test_rows_that_lack_something_are_counted_by_what_they_lack() -> None:
    assert usable_rows((*GOOD, *BAD), needs_label=True) == GOOD
    assert usable_rows((*GOOD, *BAD), needs_label=False) == (*GOOD, UNLABELLED)
    assert count_lacks((*GOOD, *BAD, SINGLE), needs_label=True) == {
        Lack.EVEN_FRAMES: 2,
        Lack.FRAMES: 1,
        Lack.LABEL: 1,
    }


def test_rl_tells_what_it_leaves_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    check_rows(opened(tmp_path, (*GOOD, *BAD, HELD_OUT)), method("rl"))

    assert "3 of 5 rows of Train are left out" in caplog.text
    assert f"{Lack.EVEN_FRAMES}: 1" in caplog.text and f"{Lack.LABEL}: 1" in caplog.text
    assert "the first is single-0 (real/single.mp4)" in caplog.text
    assert "rows of Test" not in caplog.text


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("rl", (*BAD, HELD_OUT), "no row of Train can be used, of 3"),
        ("rl", GOOD, r"no row of Test can be used, of 0 \(no rows\)"),
        ("rl", (*GOOD, clip_row("u", label="", split="Test")), "no row of Test.*no label"),
        ("sft", (clip_row("s", timestamps_seconds=(0.0,), examples=LESSON),), "odd number"),
    ],
)
def test_a_stage_without_rows_is_refused_before_its_model_is_loaded(
    tmp_path: Path, name: str, rows: Sequence[ClipRow], message: str, monkeypatch: Any
) -> None:
    spec = method(name)
    spec.seed = 0
    store = publish_rows(tmp_path, rows)
    job: Any = SimpleNamespace(
        stage=SimpleNamespace(spec=spec), output=str(tmp_path / "out"), dataset=store.url
    )
    monkeypatch.setattr(building, "_single_process_defaults", lambda: None)
    monkeypatch.setattr(building, "start_folder", lambda *_: pytest.fail("a model is loaded"))

    with pytest.raises(InvalidInput, match=message):
        building.build_parts(job, temperature=1.0)


def test_that_there_are_no_examples_is_told_with_the_task_that_is_asked_for(tmp_path: Path) -> None:
    dataset = opened(tmp_path, GOOD)
    check_rows(dataset, method("sft"))
    sft = Sft.model_validate({"steps": 1, "task": "Describe"})

    with pytest.raises(InvalidInput, match=r"no examples of the task 'Describe'.*no examples at"):
        task_examples(RowPrompts(Prompt(question="Is it?"), conversation), sft, dataset)


def test_fusion_needs_both_classes(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Train has no fake clip that can be used"):
        fusion._order(opened(tmp_path, (GOOD[0], *BAD)), seed=0)
    order = fusion._order(opened(tmp_path / "both", (*GOOD, *BAD)), seed=0)
    assert {row.row_id for row in order} == {"r-0", "f-0"}


def test_an_engine_is_not_sized_for_nothing(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(
        '{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}'
    )
    prompt: Any = SimpleNamespace()
    with pytest.raises(InvalidInput, match="no row has frames that a model can be asked about"):
        longest_prompt_tokens(file, prompt, [])
