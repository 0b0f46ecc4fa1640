import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay_api import StoreError, ThinkingMode
from assay_trainer.evaluation.intervals import VideoSums, share_interval
from assay_trainer.evaluation.metrics import Answer, summarise
from assay_trainer.evaluation.summary import (
    Estimate,
    EvaluationResult,
    ModeSummary,
    Summary,
    from_json,
    table,
    to_json,
)

THINK, NO_THINK = ThinkingMode.THINK, ThinkingMode.NO_THINK


def answer(row: str, label: str, verdict: str | None, **changes: object) -> Answer:
    plain = Answer(
        row_id=row,
        video_id=row,
        label=label,
        generator="sora" if label == "fake" else "real",
        mode=THINK,
        verdict=verdict,
        loose_verdict=verdict,
        probability_fake=None,
        length_tokens=10,
        followed_mode=True,
    )
    return replace(plain, **changes)


def think(answers: list[Answer], samples: int = 200, seed: int = 0) -> ModeSummary:
    return summarise(answers, samples, seed).modes[THINK]


# 4 fakes: 2 called fake, 1 called real, 1 unparsed. 4 reals: 1 called fake, 2 real, 1 unparsed.
CONFUSION = [
    answer("f1", "fake", "fake", probability_fake=0.95, length_tokens=20),
    answer("f2", "fake", "fake", probability_fake=0.75, generator="pika"),
    answer("f3", "fake", "real", probability_fake=0.25),
    answer("f4", "fake", None, loose_verdict="fake", followed_mode=False),
    answer("r1", "real", "fake", probability_fake=0.75),
    answer("r2", "real", "real", probability_fake=0.05),
    answer("r3", "real", "real"),
    answer("r4", "real", None, loose_verdict="fake", followed_mode=False),
]


def test_the_numbers_of_a_confusion_matrix_are_those_computed_by_hand() -> None:
    found = think(CONFUSION)
    assert found.num_answers == found.num_videos == 8
    assert found.accuracy.value == 4 / 8
    assert found.precision.value == 2 / 3  # called fake: f1, f2, r1
    assert found.recall.value == 2 / 4  # the unparsed fake is a miss
    assert found.f1.value == 4 / 7  # 2 * 2 / (2 * 2 + 1 + 2)
    assert found.f1.value == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))
    assert found.real_accuracy.value == 2 / 4
    assert found.acc_g.value == (2 / 4 + 2 / 4) / 2
    assert found.loose_accuracy.value == 5 / 8  # f4 is recovered, r4 is recovered wrongly
    assert found.unparsed_rate.value == 2 / 8
    assert found.mode_followed_rate.value == 6 / 8
    assert found.mean_length_tokens.value == (20 + 7 * 10) / 8


def test_calibration_counts_only_answers_with_a_probability() -> None:
    found = think(CONFUSION)
    assert found.num_probabilities == 5
    squares = 0.05**2 + 0.25**2 + 0.75**2 + 0.75**2 + 0.05**2
    assert found.brier.value == pytest.approx(squares / 5)
    # Bins: [0, .1) r2: .05 vs 0; [.2, .3) f3: .25 vs 1; [.7, .8) f2, r1: .75 vs .5; [.9, 1] f1.
    gaps = 1 * 0.05 + 1 * 0.75 + 2 * 0.25 + 1 * 0.05
    assert found.calibration_error.value == pytest.approx(gaps / 5)


def test_accuracy_by_generator_is_over_its_own_answers() -> None:
    generators = think(CONFUSION).generators
    assert {name: g.num_answers for name, g in generators.items()} == {
        "pika": 1,
        "real": 4,
        "sora": 3,
    }
    assert generators["pika"].accuracy.value == 1
    assert generators["sora"].accuracy.value == 1 / 3
    assert generators["real"].accuracy.value == 2 / 4


def test_what_has_no_denominator_is_none_and_never_zero() -> None:
    found = think([answer("r1", "real", "real"), answer("r2", "real", None)])
    for name in ("precision", "recall", "f1", "acc_g", "brier", "calibration_error"):
        assert getattr(found, name).value is None, name
    assert found.accuracy.value == found.real_accuracy.value == 0.5


def test_a_detector_that_never_says_fake_has_no_precision_but_a_recall_of_zero() -> None:
    found = think([answer("f1", "fake", "real"), answer("r1", "real", "real")])
    assert found.precision.value is None
    assert found.recall.value == 0
    assert found.f1.value == 0
    assert found.acc_g.value == 0.5


def test_a_track_of_fakes_only_has_no_acc_g() -> None:
    found = think([answer("f1", "fake", "fake"), answer("f2", "fake", "real")])
    assert found.accuracy.value == found.recall.value == 0.5
    assert found.acc_g.value is None


def test_modes_are_summarised_apart() -> None:
    quiet = [replace(a, mode=NO_THINK, verdict=a.label) for a in CONFUSION]
    found = summarise([*CONFUSION, *quiet], 100, 0)
    assert list(found.modes) == [THINK, NO_THINK]
    assert found.modes[THINK].accuracy.value == 0.5
    assert found.modes[NO_THINK].accuracy.value == 1


def test_each_interval_is_over_the_answers_that_its_number_is_over() -> None:
    found = think(CONFUSION)

    def exact(right: int, number: int) -> object:
        videos = VideoSums.of(np.ones(number), np.array([1.0] * right + [0.0] * (number - right)))
        interval = share_interval(videos)
        assert interval is not None
        return pytest.approx((interval.low, interval.high))

    def bounds(estimate: Estimate) -> tuple[float | None, float | None]:
        return estimate.low, estimate.high

    assert bounds(found.accuracy) == exact(4, 8)
    assert bounds(found.loose_accuracy) == exact(5, 8)
    assert bounds(found.precision) == exact(2, 3)
    assert bounds(found.recall) == exact(2, 4)
    assert bounds(found.real_accuracy) == exact(2, 4)
    assert bounds(found.unparsed_rate) == exact(2, 8)
    assert bounds(found.mode_followed_rate) == exact(6, 8)
    assert bounds(found.generators["sora"].accuracy) == exact(1, 3)
    assert bounds(found.generators["pika"].accuracy) == (None, None), "one video"
    # F1: 2 hits of 5 answers that are hits, false alarms or misses. 0.0527 to 0.8534, exact.
    assert bounds(found.f1) == pytest.approx((0.1003, 0.9209), abs=2e-4)
    # ACC_g: two shares of 2 of 4, each exact between 0.0676 and 0.9324.
    assert bounds(found.acc_g) == pytest.approx((0.1942, 0.8058), abs=2e-4)
    # Length: 20 and seven times 10; t(7) = 2.3646, standard error 1.25.
    assert bounds(found.mean_length_tokens) == pytest.approx((8.2943, 14.2057), abs=2e-4)


def test_all_right_is_not_certain() -> None:
    found = think([answer(f"f{index}", "fake", "fake") for index in range(96)])
    assert (found.accuracy.value, found.accuracy.high) == (1, 1)
    assert found.accuracy.low == pytest.approx(0.962, abs=5e-4)
    assert found.recall == found.precision == found.accuracy
    assert str(found.accuracy) == "1.000 [0.962, 1.000]"


def test_a_video_with_real_and_fake_clips_may_err_in_both_at_once() -> None:
    labels = ("real", "fake")
    apart = [answer(f"{label}{i}", label, label) for label in labels for i in range(8)]
    together = [replace(a, video_id=a.row_id[-1]) for a in apart]
    low = 1 - (1 - 0.025 ** (1 / 8)) / math.sqrt(2)
    assert think(apart).acc_g.low == pytest.approx(low)
    assert think(together).acc_g.low == pytest.approx(0.025 ** (1 / 8))


def test_many_clips_of_few_videos_do_not_narrow_the_interval() -> None:
    videos = [("fake" if i % 2 else "real") for i in range(10)]
    once = [answer(f"{i}", "fake", verdict) for i, verdict in enumerate(videos)]
    often = [
        replace(a, row_id=f"{a.row_id}-{clip}", video_id=a.row_id)
        for a in once
        for clip in range(9)
    ]
    assert think(often).accuracy == think(once).accuracy


def test_one_video_alone_has_no_interval() -> None:
    found = think(
        [answer("a", "fake", "fake", video_id="v"), answer("b", "fake", None, video_id="v")]
    )
    assert found.accuracy.value == 0.5
    assert found.accuracy.low is None
    assert found.accuracy.high is None


def test_the_seed_decides_the_interval_of_the_calibration_error() -> None:
    assert think(CONFUSION, seed=3) == think(CONFUSION, seed=3)
    assert think(CONFUSION, samples=50, seed=3) != think(CONFUSION, samples=50, seed=4)


answers_of_any_kind = st.lists(
    st.builds(
        Answer,
        row_id=st.uuids().map(str),
        video_id=st.sampled_from("abcdef"),
        label=st.sampled_from(["real", "fake"]),
        generator=st.sampled_from(["sora", "real", "a/b"]),
        mode=st.sampled_from(ThinkingMode),
        verdict=st.sampled_from(["real", "fake", None]),
        loose_verdict=st.sampled_from(["real", "fake", None]),
        probability_fake=st.none() | st.floats(0, 1),
        length_tokens=st.integers(0, 1000),
        followed_mode=st.booleans(),
    ),
    min_size=1,
    max_size=25,
    unique_by=lambda a: a.row_id,
)


@settings(max_examples=40, deadline=None)
@given(answers_of_any_kind, st.randoms(use_true_random=False))
def test_the_order_of_the_answers_does_not_matter(answers: list[Answer], rng: object) -> None:
    shuffled = list(answers)
    rng.shuffle(shuffled)
    for one, other in zip(
        _flat(summarise(answers, 20, 0)), _flat(summarise(shuffled, 20, 0)), strict=True
    ):
        assert one == other or math.isclose(one, other, abs_tol=1e-9)


@settings(max_examples=40, deadline=None)
@given(answers_of_any_kind)
def test_all_shares_lie_between_zero_and_one_and_survive_json(answers: list[Answer]) -> None:
    result = EvaluationResult(model_digest="d", summary=summarise(answers, 20, 0))
    assert from_json(to_json(result), "result.json") == result
    for mode in result.summary.modes.values():
        shares = [
            getattr(mode, name)
            for name in ("accuracy", "precision", "recall", "f1", "acc_g", "brier")
        ]
        shares += [mode.calibration_error, *(g.accuracy for g in mode.generators.values())]
        for share in shares:
            for number in (share.value, share.low, share.high):
                assert number is None or -1e-12 <= number <= 1 + 1e-12


def _flat(summary: Summary) -> list[float | None]:
    def numbers(value: object) -> list[float | None]:
        if isinstance(value, dict):
            return [n for key in sorted(value) for n in numbers(value[key])]
        return [value]

    return numbers(summary.model_dump(mode="json"))


def test_a_result_that_is_damaged_is_named_with_the_field() -> None:
    result = EvaluationResult(model_digest="d", summary=think_summary())
    content = json.loads(to_json(result))
    del content["summary"]["modes"]["Think"]["accuracy"]
    with pytest.raises(StoreError, match=r"^result\.json: field summary\.modes\.Think\.accuracy"):
        from_json(json.dumps(content).encode(), "result.json")


def think_summary() -> Summary:
    return summarise(CONFUSION, 100, 0)


def test_the_table_has_a_row_per_number_and_a_column_per_mode() -> None:
    both = [*CONFUSION, *(replace(a, mode=NO_THINK) for a in CONFUSION if a.label == "real")]
    text = table(summarise(both, 100, 0))
    lines = {line.split("  ")[0].strip(): line for line in text.splitlines()}
    assert lines["clips"].split() == ["clips", "8", "4"]
    assert "0.500 [" in lines["accuracy"]
    assert lines["ACC_g"].split()[-1] == "-"
    assert "of 1" in lines["accuracy on pika"]
    assert text.splitlines()[0].split() == ["Think", "NoThink"]


def test_no_answers_are_not_a_result() -> None:
    with pytest.raises(ValueError, match="no answers"):
        summarise([], 100, 0)


def test_a_clip_is_not_counted_twice() -> None:
    with pytest.raises(ValueError, match="two answers about row f1 in mode Think"):
        summarise([CONFUSION[0], CONFUSION[0]], 100, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "generated"}, "label 'generated'"),
        ({"verdict": "B"}, "verdict 'B'"),
        ({"loose_verdict": ""}, "loose_verdict ''"),
        ({"probability_fake": 1.5}, r"probability_fake 1.5 is outside \[0, 1\]"),
        ({"probability_fake": math.nan}, "probability_fake nan"),
    ],
)
def test_an_answer_that_means_nothing_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFUSION[0], **changes)
