from hypothesis import given
from hypothesis import strategies as st

from assay_data.dataset.order import ShuffledStream, derived_seed, shuffled_order

sizes, seeds, places = st.integers(1, 20), st.integers(0, 2**31), st.integers(0, 200)


@given(size=sizes, seed=seeds, start=places, count=st.integers(0, 50))
def test_any_place_is_reached_without_what_came_before(size, seed, start, count) -> None:
    stream = ShuffledStream(range(size), seed)

    whole = stream.draw(0, start + count)

    assert stream.draw(start, count) == whole[start:]
    assert [turn for turn, _ in whole] == [place // size for place in range(start + count)]


@given(size=sizes, seed=seeds, turn=st.integers(0, 20))
def test_each_round_is_a_permutation(size, seed, turn) -> None:
    drawn = ShuffledStream(range(size), seed).draw(turn * size, size)

    assert sorted(item for _, item in drawn) == list(range(size))


@given(seed=seeds)
def test_rounds_and_seeds_have_orders_of_their_own(seed) -> None:
    stream = ShuffledStream(range(20), seed)

    orders = [tuple(item for _, item in stream.draw(20 * turn, 20)) for turn in range(4)]
    orders.append(tuple(item for _, item in ShuffledStream(range(20), seed + 1).draw(0, 20)))

    assert len(set(orders)) == 5


@given(size=sizes, start=places, count=st.integers(0, 50))
def test_without_a_seed_the_order_is_the_given_one(size, start, count) -> None:
    drawn = ShuffledStream(range(size), None).draw(start, count)

    assert drawn == [divmod(place, size) for place in range(start, start + count)]


def test_orders_are_fixed_once_and_for_all() -> None:
    """Stages that are resumed, and measured results, depend on them."""
    assert shuffled_order(8, seed=0, turn=0) == [5, 2, 7, 3, 6, 4, 0, 1]
    assert shuffled_order(8, seed=7, turn=3) == [1, 6, 2, 5, 0, 7, 3, 4]


def test_derived_seeds_are_fixed_numbers_of_31_bits() -> None:
    """The first four bytes of SHA-256 of "0/rollout/7" are 3f 6e 1b 55."""
    assert derived_seed(0, "rollout", 7) == 0x3F6E1B55 >> 1
    assert len({derived_seed(0, "rollout", place) for place in range(1000)}) == 1000
