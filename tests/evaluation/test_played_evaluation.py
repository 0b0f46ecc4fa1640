"""A whole evaluation whose engine is played: every number is checked against what was said."""

import json
from pathlib import Path

import pytest
from played_evaluation import NO_THINK, ROWS, SAID, THINK, Evaluate, PlayedEngine, held_out, values
from prometheus_client import REGISTRY

from assay_api import InvalidInput, ThinkingMode
from assay_trainer.evaluation import answering
from assay_trainer.evaluation.metrics import Answer, summarise
from assay_trainer.evaluation.summary import Estimate, Summary
from assay_trainer.rollout.sampler import SamplingPlan


def test_every_number_is_that_of_what_was_said(evaluate: Evaluate) -> None:
    think = evaluate().modes[THINK]

    # Probabilities of fake: 0.1, 0.6 of 0.8, 0.75, none, 1: no A among the likeliest tokens.
    assert values(think) == {
        "accuracy": 3 / 5,
        "loose_accuracy": 4 / 5,
        "precision": 1,
        "recall": round(2 / 3, 9),
        "f1": 4 / 5,
        "real_accuracy": 1 / 2,
        "acc_g": round((1 / 2 + 2 / 3) / 2, 9),
        "unparsed_rate": 2 / 5,
        # The second has no think block, the fifth an empty one.
        "mode_followed_rate": 3 / 5,
        "mean_length_tokens": (7 + 4 + 7 + 7 + 6) / 5,
        "brier": round((0.1**2 + 0.75**2 + 0.25**2 + 0) / 4, 9),
        # Bins [0.1, 0.2): a real; [0.7, 0.8): a real and a fake; the last one: a fake.
        "calibration_error": round((0.1 + abs(0.75 - 0.25) + 0) / 4, 9),
        "camera": 1 / 2,
        "sora": 1,
        "pika": 1 / 2,
    }
    assert (think.num_answers, think.num_videos, think.num_probabilities) == (5, 3, 4)
    assert {name: g.num_answers for name, g in think.generators.items()} == {
        "camera": 2,
        "pika": 2,
        "sora": 1,
    }


def test_every_number_of_the_other_mode_is_that_of_what_was_said_in_it(evaluate: Evaluate) -> None:
    no_think = evaluate().modes[NO_THINK]

    assert values(no_think) == {
        "accuracy": 2 / 5,
        "loose_accuracy": 2 / 5,
        "precision": 1 / 2,
        "recall": round(1 / 3, 9),
        "f1": 2 / 5,
        "real_accuracy": 1 / 2,
        "acc_g": round((1 / 2 + 1 / 3) / 2, 9),
        "unparsed_rate": 1 / 5,
        # The third has no think block, the fourth a full one.
        "mode_followed_rate": 3 / 5,
        "mean_length_tokens": (6 + 6 + 4 + 7 + 6) / 5,
        "brier": round((0.7**2 + 0.4**2 + 0.55**2 + 1 + 0.05**2) / 5, 9),
        # [0, 0.1): a fake at 0; [0.4, 0.5): a real at 0.4 and a fake at 0.45; 0.7; 0.95.
        "calibration_error": round((1 + abs(0.4 + 0.45 - 1) + 0.7 + 0.05) / 5, 9),
        "camera": 1 / 2,
        "sora": 0,
        "pika": 1 / 2,
    }
    assert no_think.num_probabilities == 5


def test_each_clip_for_evaluation_is_asked_about_once_in_each_mode_and_greedily(
    evaluate: Evaluate, engine: PlayedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "_CLIPS_AT_A_TIME", 2)

    evaluate()

    assert engine.questions == [(mode, place) for mode in (THINK, NO_THINK) for place in range(5)]
    assert [len(requests) for requests, _ in engine.asked] == [2, 2, 1] * 2
    rates = [request.media.fps for requests, _ in engine.asked for request in requests]
    assert rates == [4, 2, 4, 4, 4] * 2
    # 20 likeliest tokens: as many as vLLM reports.
    greedy = SamplingPlan(1, 40, temperature=0, num_alternatives=20)
    assert {plan for _, plan in engine.asked} == {greedy}


@pytest.mark.parametrize("modes", [(NO_THINK,), (THINK,), (NO_THINK, THINK)])
def test_only_the_modes_of_the_spec_are_asked_for(
    evaluate: Evaluate, engine: PlayedEngine, modes: tuple[ThinkingMode, ...]
) -> None:
    found = evaluate(modes=modes)

    assert tuple(dict.fromkeys(mode for mode, _ in engine.questions)) == modes
    assert found.modes.keys() == set(modes)
    assert all(found.modes[mode].accuracy.value == (3, 2)[mode is NO_THINK] / 5 for mode in modes)


def test_the_training_part_is_evaluated_only_if_it_is_asked_for(
    evaluate: Evaluate, engine: PlayedEngine
) -> None:
    engine.says = lambda mode, place: SAID[mode][4]

    found = evaluate(split="Train")

    assert [place for _, place in engine.questions] == [5, 5]
    assert found.modes[THINK].generators.keys() == {"sora"}


def test_a_part_without_clips_is_refused(evaluate: Evaluate) -> None:
    with pytest.raises(InvalidInput, match=r"spec\.split: the dataset has no clips in Train"):
        evaluate(ROWS[:5], split="Train")


def test_the_engine_has_room_for_the_longest_prompt_and_answer(
    evaluate: Evaluate, engine: PlayedEngine, tmp_path: Path
) -> None:
    evaluate(precision="Float32")

    # 112 x 56 pixels are 4 x 2 tokens; words of the prompt: user, Which, ?, /think, assistant.
    words = ("<|im_start|>user", "<...>Which", "?", "/think<|im_end|>", "<|im_start|>assistant")
    ((folder, config),) = engine.opened
    assert config.max_model_length_tokens == 8 + len(words) + 40
    assert (config.precision, config.lora, config.memory_fraction) == ("Float32", None, 0.9)
    assert folder == tmp_path / "model"


MANY = tuple(
    held_out(f"{label}{number}", 0, label, label)
    for label in ("real", "fake")
    for number in range(9)
)
"""Reals first, as many datasets have them."""


def test_at_most_so_many_clips_are_drawn_of_both_classes_by_the_seed(
    evaluate: Evaluate, engine: PlayedEngine
) -> None:
    engine.says = lambda mode, place: SAID[THINK][0]
    drawn = []
    for seed in (0, 0, 1, 2):
        engine.asked.clear()
        found = evaluate(MANY, maxClips=6, modes=[THINK], seed=seed).modes[THINK]
        places = [place for _, place in engine.questions]
        assert sum(place < 9 for place in places) == 3 and len(set(places)) == 6
        # It says real of all of them.
        assert (found.num_answers, found.accuracy.value) == (6, 1 / 2)
        drawn.append(places)

    assert drawn[0] == drawn[1]
    assert len({tuple(places) for places in drawn}) == 3
    assert not any(set(places) == {0, 1, 2, 9, 10, 11} for places in drawn)


def test_intervals_resample_videos_as_often_and_from_the_seed_as_the_spec_says(
    evaluate: Evaluate,
) -> None:
    found = evaluate(seed=5, bootstrapSamples=300)

    by_hand = [
        Answer(
            row_id=row.row_id,
            video_id=row.video_id,
            label=row.label,
            generator=row.generator,
            mode=THINK,
            verdict=verdict,
            loose_verdict=verdict,
            probability_fake=None,
            length_tokens=1,
            followed_mode=True,
        )
        for row, verdict in zip(ROWS, ("real", None, "fake", None, "fake"), strict=False)
    ]
    expected = summarise(by_hand, 300, 5).modes[THINK]
    assert found.modes[THINK].accuracy == expected.accuracy
    assert found.modes[THINK].generators == expected.generators
    assert (found.bootstrap_samples, found.seed) == (300, 5)


def test_an_interval_is_one_of_95_percent() -> None:
    """100 videos, half of them right: whatever the method, 0.5 -+ 1.96 * 0.05, less than 0.01 off.

    One of 90 % would be 0.418 to 0.582, one of 99 % 0.371 to 0.629.
    """
    answers = [
        Answer(
            row_id=str(number),
            video_id=str(number),
            label="fake",
            generator="g",
            mode=THINK,
            verdict=("real", "fake")[number % 2],
            loose_verdict=None,
            probability_fake=None,
            length_tokens=1,
            followed_mode=True,
        )
        for number in range(100)
    ]

    found: Estimate = summarise(answers, 5000, 0).modes[THINK].accuracy

    assert found.low == pytest.approx(0.402, abs=0.0099)
    assert found.high == pytest.approx(0.598, abs=0.0099)


def test_the_result_is_kept_exported_and_told(
    evaluate: Evaluate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="assay_trainer")

    summary = evaluate()

    kept = json.loads((tmp_path / "out/result.json").read_text())
    assert kept["modelDigest"] == "m"
    assert Summary.model_validate(kept["summary"]) == summary
    completion = json.loads((tmp_path / "out/completion.json").read_text())
    assert completion["summary"] == {"accuracy/think": 3 / 5, "accuracy/no_think": 2 / 5}
    for mode, accuracy in ((THINK, 3 / 5), (NO_THINK, 2 / 5)):
        labels = {"mode": mode.value}
        assert REGISTRY.get_sample_value("assay_evaluation_accuracy", labels) == accuracy
    assert "5 of 10 answers, Think" in caplog.text
    assert "complete: accuracy/think 0.600, accuracy/no_think 0.400" in caplog.text
    progress = json.loads((tmp_path / "out/progress.json").read_text())
    assert (progress["step"], progress["total"], progress["doing"]) == (5, 10, "answering, NoThink")
