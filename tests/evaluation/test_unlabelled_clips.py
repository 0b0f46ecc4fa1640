"""An evaluation of clips without a label, and of clips that the model does not take."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from played_evaluation import ROWS, SAID, THINK, Evaluate, PlayedEngine, held_out, values

from assay_api import InvalidInput
from assay_data.dataset.usable import Lack
from assay_trainer.evaluation.summary import table


def test_clips_without_a_label_have_answers_and_no_accuracy(
    evaluate: Evaluate, engine: PlayedEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="assay_trainer")
    rows = tuple(replace(row, label="", generator="") for row in ROWS[:5])

    summary = evaluate(rows)

    think = summary.modes[THINK]
    assert (think.num_answers, think.num_unlabelled, think.num_probabilities) == (5, 5, 0)
    assert {name for name, value in values(think).items() if value is not None} == {
        "unparsed_rate",
        "mode_followed_rate",
        "mean_length_tokens",
    }
    assert think.unparsed_rate.value == 2 / 5 and think.generators == {}
    completion = json.loads((tmp_path / "out/completion.json").read_text())
    assert completion["summary"] == {}
    assert "complete: no accuracy: no clip has a label real or fake" in caplog.text
    assert table(summary).endswith("No accuracy: no clip has a label real or fake.")
    lines = [line.split() for line in table(summary).splitlines()]
    assert ["clips", "without", "label", "5", "5"] in lines and ["accuracy", "-", "-"] in lines


def test_a_clip_without_a_label_changes_no_number_of_the_others(
    evaluate: Evaluate, engine: PlayedEngine
) -> None:
    labelled = evaluate().modes[THINK]
    # The last one is asked about last; it is said to be a fake, surely.
    said_last = SAID[THINK][4]
    engine.says = lambda mode, place: said_last if place == 5 else SAID[mode][place]

    with_one = evaluate((*ROWS[:5], held_out("u", 0, "", ""))).modes[THINK]

    changed = {"num_answers", "num_videos", "num_unlabelled"}
    changed |= {"unparsed_rate", "mode_followed_rate", "mean_length_tokens"}
    assert with_one.model_dump(exclude=changed) == labelled.model_dump(exclude=changed)
    assert (with_one.num_answers, with_one.num_unlabelled) == (6, 1)
    assert with_one.unparsed_rate.value == 2 / 6


def test_clips_that_the_model_does_not_take_are_left_out_and_counted(
    evaluate: Evaluate, engine: PlayedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    single = held_out("one", 0, "fake", "sora", timestamps_seconds=(0.0,))
    text = held_out("text", 0, "", "", timestamps_seconds=())

    summary = evaluate((*ROWS[:5], single, text))

    assert [place for _, place in engine.questions] == [0, 1, 2, 3, 4] * 2
    assert summary.left_out == {Lack.EVEN_FRAMES: 1, Lack.FRAMES: 1}
    assert "2 of 7 rows of Test are left out" in caplog.text and "one-0" in caplog.text
    assert f"Left out: {Lack.EVEN_FRAMES}: 1." in table(summary)


def test_a_dataset_without_clips_that_the_model_takes_starts_no_engine(
    evaluate: Evaluate, engine: PlayedEngine
) -> None:
    single = held_out("one", 0, "fake", "sora", timestamps_seconds=(0.0,))

    with pytest.raises(InvalidInput, match=r"no row of Test can be used, of 1 .*odd number"):
        evaluate((single,))
    assert engine.opened == []
