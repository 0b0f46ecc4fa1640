import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_data.dataset.selection import evenly_spaced, in_turn
from assay_trainer.report.charts import Series, charts, missing
from assay_trainer.report.overview import Change, change
from assay_trainer.report.page import duration


def titles(metrics: dict[int, dict[str, float]]) -> list[str]:
    return [chart.title for chart in charts(metrics)]


def test_a_curve_has_a_point_where_its_number_was_measured_and_none_elsewhere() -> None:
    metrics = {
        1: {"accuracy/sampled": 0.5},
        2: {"accuracy/sampled": 0.6, "accuracy/held_out_think": 0.7},
        3: {"accuracy/sampled": 0.7},
    }
    (accuracy,) = charts(metrics)
    assert accuracy.series == (
        Series("sampled", (1, 2, 3), (0.5, 0.6, 0.7)),
        Series("held out, think", (2,), (0.7,)),
    )


def test_every_reward_term_is_a_curve_beside_the_total() -> None:
    metrics = {1: {"reward/mode_followed": -0.1, "reward/mean": 0.4, "reward/my_own": 0.5}}
    (reward,) = charts(metrics)
    assert [series.name for series in reward.series] == ["total", "mode followed", "my own"]


def test_what_is_measured_before_training_is_drawn_with_what_it_is_about() -> None:
    before = {"well_formed/held_out_think": 0.25, "judge/probe_agreement": 0.5}
    (chart,) = charts({0: before, 2: {"well_formed/held_out_think": 0.75}})
    assert chart.title == "Obedience and judgement"
    assert chart.series == (
        Series("think well-formed", (0, 2), (0.25, 0.75)),
        Series("judge's probe: agreement", (0,), (0.5,)),
    )


def test_nothing_recorded_means_no_chart() -> None:
    assert charts({}) == ()
    assert charts({1: {"step": 1}}) == ()


def test_a_metric_that_no_chart_is_meant_for_is_shown_all_the_same() -> None:
    assert titles({1: {"loss": 1.0, "examples_seen": 32}}) == ["Loss", "examples_seen"]


def test_phases_replace_the_whole_step_which_is_their_sum() -> None:
    assert titles({1: {"time/step_seconds": 3}}) == ["Time per step"]
    both = {1: {"time/step_seconds": 3, "time/learn_seconds": 2, "time/sync_seconds": 1}}
    (chart,) = charts(both)
    assert chart.title == "Time per phase"
    assert chart.stacked


def test_phases_of_any_name_are_parts_of_the_step() -> None:
    names = ("validate", "other", "rollout", "step")
    (chart,) = charts({1: {f"time/{name}_seconds": 1.0 for name in names}})
    assert [series.name for series in chart.series] == ["rollout", "validate", "other"]


def test_what_an_rl_stage_did_not_record_is_named() -> None:
    found = missing(charts({1: {"reward/mean": 1.0, "time/learn_seconds": 1.0}}))
    assert "Reward" not in found
    assert "Time per phase" not in found
    assert "Time per step" not in found
    assert "Entropy" in found


def test_before_and_after_are_the_first_and_last_measurement() -> None:
    metrics = {0: {"a": 0.5}, 1: {"b": 1.0}, 5: {"a": 0.4}, 9: {"a": 0.8}, 10: {"b": 2.0}}
    assert change(metrics, "a") == Change(0, 0.5, 9, 0.8)
    assert change(metrics, "c") is None
    once = change({3: {"a": 0.5}}, "a")
    assert once is not None
    assert once.is_one_point


@given(st.lists(st.integers(), unique=True), st.integers(1, 8))
def test_evenly_spaced_items_keep_order_and_both_ends(items: list[int], count: int) -> None:
    found = evenly_spaced(items, count)
    assert len(found) == min(count, len(items))
    assert len(set(found)) == len(found)
    assert [item for item in items if item in found] == list(found)
    if items and count > 1:
        assert found[0] == items[0]
        assert found[-1] == items[-1]


def test_kinds_take_turns() -> None:
    kinds = [("real", 1), ("real", 2), ("sora", 3), ("real", 4), ("pika", 5), ("sora", 6)]
    assert in_turn(kinds, 4) == (1, 3, 5, 2)
    assert in_turn(kinds, 99) == (1, 3, 5, 2, 6, 4)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (754, "12 min 34 s"),
        (3599.7, "1 h 00 min"),
        (7384, "2 h 03 min"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
