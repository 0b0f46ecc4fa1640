import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay_api import InvalidInput, Split
from assay_api.dataset import SplitPlan, SplitRule
from assay_data.ingest.split import assign_parts, split_videos

counts = st.integers(2, 60)


@settings(deadline=None)
@given(counts, counts, st.floats(0.01, 0.99), st.integers(0, 5))
def test_each_class_is_on_both_sides_in_its_share(
    num_real: int, num_fake: int, fraction: float, seed: int
) -> None:
    videos = [(f"r{i}", "real") for i in range(num_real)]
    videos += [(f"f{i}", "fake") for i in range(num_fake)]

    parts = split_videos(videos, SplitPlan(test_fraction=fraction, seed=seed))

    assert parts.keys() == {video_id for video_id, _ in videos}
    for prefix, total in (("r", num_real), ("f", num_fake)):
        num_test = sum(parts[f"{prefix}{i}"] is Split.TEST for i in range(total))
        assert 1 <= num_test <= total - 1
        assert abs(num_test - fraction * total) <= 1
    assert parts == split_videos(reversed(videos), SplitPlan(test_fraction=fraction, seed=seed))


def test_another_seed_is_another_split() -> None:
    videos = [(str(i), "real") for i in range(50)]

    assert split_videos(videos, SplitPlan(seed=0)) != split_videos(videos, SplitPlan(seed=1))


def test_a_lonely_video_is_refused() -> None:
    with pytest.raises(InvalidInput, match="only 1 usable real video"):
        split_videos([("a", "real"), ("b", "fake"), ("c", "fake")], SplitPlan())


def test_videos_whose_rows_differ_in_label_are_a_kind_of_their_own() -> None:
    rows = [(f"v{i}", label, "") for i in range(20) for label in ("real", "fake")]
    rows += [(f"r{i}", "real", "") for i in range(10)]

    parts = assign_parts(rows, SplitPlan(test_fraction=0.2))

    assert sum(parts[f"v{i}"] is Split.TEST for i in range(20)) == 4
    assert sum(parts[f"r{i}"] is Split.TEST for i in range(10)) == 2


def test_a_lonely_kind_is_divided_with_the_others() -> None:
    rows = [("a", "real", ""), ("b", "real", ""), ("c", "", "")]

    assert sorted(assign_parts(rows, SplitPlan(test_fraction=0.3)).values()) == [
        Split.TEST,
        Split.TRAIN,
        Split.TRAIN,
    ]


def test_the_rule_decides_for_all() -> None:
    rows = [("a", "real", "Train"), ("b", "", "Test")]

    by_rule = {rule: assign_parts(rows, SplitPlan(rule=rule)) for rule in list(SplitRule)[1:]}

    assert by_rule == {
        SplitRule.SOURCE: {"a": Split.TRAIN, "b": Split.TEST},
        SplitRule.TRAIN: {"a": Split.TRAIN, "b": Split.TRAIN},
        SplitRule.TEST: {"a": Split.TEST, "b": Split.TEST},
    }
