import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_api import InvalidInput
from assay_data.dataset.reader_position import ReaderPosition, together

NEW = ReaderPosition("s")
counts = st.lists(st.integers(0, 9), min_size=1, max_size=5)


def deal(start: ReaderPosition, had: list[int]) -> tuple[list[int], list[ReaderPosition]]:
    """Return the places that the ranks are given, and the position of each."""
    places = [
        place
        for rank, count in enumerate(had)
        for place in itertools.islice(start.share(rank, len(had)), count)
    ]
    positions = [
        ReaderPosition(
            start.stream,
            start.next_place,
            start.ahead,
            tuple(count if rank == own else None for rank, count in enumerate(had)),
        )
        for own in range(len(had))
    ]
    return places, positions


@given(phases=st.lists(counts, max_size=5), num_ranks=st.integers(1, 5))
def test_every_place_is_delivered_once_however_ranks_come_and_go(phases, num_ranks) -> None:
    position, delivered = NEW, []
    for had in phases:
        places, positions = deal(position, had)
        delivered += places
        position = together([ReaderPosition.from_json(p.to_json()) for p in positions])

    end = max(delivered, default=0) + 10
    left = [
        place
        for rank in range(num_ranks)
        for place in itertools.takewhile(lambda p: p < end, position.share(rank, num_ranks))
    ]

    assert sorted(delivered + left) == list(range(end))


@given(first=counts, then=counts, data=st.data())
def test_the_order_of_the_ranks_positions_does_not_matter(first, then, data) -> None:
    _, positions = deal(together(deal(NEW, first)[1]), then)
    whole = together(positions)

    assert together(data.draw(st.permutations(positions))) == whole
    assert together([*positions, positions[0]]) == whole
    assert together([whole]) == whole


@given(rounds=st.integers(0, 10**9), num_ranks=st.integers(1, 5), uneven=st.integers(0, 4))
def test_ranks_in_step_have_a_small_position_however_far_they_are(
    rounds, num_ranks, uneven
) -> None:
    had = [rounds + (rank < uneven) for rank in range(num_ranks)]

    whole = together([ReaderPosition("s", delivered=tuple(had))])

    assert whole == ReaderPosition("s", next_place=sum(had))
    assert len(json.dumps(whole.to_json())) < 100


@given(had=counts, rank=st.integers(0, 4), num_ranks=st.integers(1, 5))
def test_open_places_are_all_but_those_ahead(had, rank, num_ranks) -> None:
    position = together(deal(NEW, had)[1])
    open_places = [p for p in range(position.next_place, 200) if p not in position.ahead]

    share = list(itertools.islice(position.share(rank % num_ranks, num_ranks), 8))

    assert share == open_places[rank % num_ranks :: num_ranks][:8]


def test_a_rank_whose_position_is_missing_is_named() -> None:
    _, positions = deal(NEW, [3, 2, 4])

    with pytest.raises(InvalidInput, match=r"rank 0, 2 of 3 is missing"):
        together(positions[1:2])


def test_positions_of_different_readers_do_not_go_together() -> None:
    two, three = deal(NEW, [1, 1])[1], deal(NEW, [1, 1, 1])[1]

    with pytest.raises(InvalidInput, match="3 positions of 2 different readers"):
        together([*two, three[0]])
    with pytest.raises(InvalidInput, match="0 positions of 0 different readers"):
        together([])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"next_place": "x"}, "field next_place: .* got 'x'"),
        ({"next_place": -1}, "must ascend"),
        ({"next_place": 5, "ahead": [5]}, "must ascend"),
        ({"ahead": [4, 2]}, "must ascend"),
        ({"delivered": [-1]}, "field delivered"),
        ({"stream": None}, "field stream"),
    ],
)
def test_a_value_that_is_no_position_is_refused(wrong, message) -> None:
    with pytest.raises(InvalidInput, match=message):
        ReaderPosition.from_json(NEW.to_json() | wrong)
    with pytest.raises(InvalidInput, match="whole value"):
        ReaderPosition.from_json("place 7")
