"""When too much is rejected: at the same record whatever the batches, and never on a small sample."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_worker.limits import Limits, Measured, Trip, measure

SMALL = Limits(max_rejected_ratio=0.3, window=10, max_consecutive=5)


def first_trip(bad: list[bool], limits: Limits, sizes: list[int]) -> int | None:
    """The first record of the batch that tripped; batches of these sizes, again and again."""
    measured, at, turn = Measured(), 0, 0
    while at < len(bad):
        batch = bad[at : at + sizes[turn % len(sizes)]]
        found = measure(measured, limits, len(batch), [n for n, b in enumerate(batch) if b])
        if isinstance(found, Trip):
            return at
        measured, at, turn = found, at + len(batch), turn + 1
    return None


def by_definition(bad: list[bool], limits: Limits) -> int | None:
    """The record at which a limit is passed, straight from the words of the settings."""
    for n in range(len(bad)):
        row = next((i for i, b in enumerate(reversed(bad[: n + 1])) if not b), n + 1)
        share = sum(bad[n + 1 - limits.window : n + 1]) / limits.window if n + 1 >= limits.window else 0
        if bad[n] and (row > limits.max_consecutive or share > limits.max_rejected_ratio):
            return n
    return None


@settings(max_examples=500)
@given(st.lists(st.booleans(), max_size=60), st.lists(st.integers(1, 13), min_size=1, max_size=5))
def test_it_trips_in_the_batch_of_the_record_that_passes_a_limit(bad: list[bool], sizes: list[int]) -> None:
    expected, found = by_definition(bad, SMALL), first_trip(bad, SMALL, sizes)
    assert found is None if expected is None else found is not None and found <= expected
    assert first_trip(bad, SMALL, [1]) == expected


@given(st.lists(st.booleans(), max_size=9))
def test_a_small_sample_is_no_share(bad: list[bool]) -> None:
    assert first_trip(bad, SMALL._replace(max_consecutive=10), [1]) is None


@pytest.mark.parametrize(("rejected", "trips"), [(200, False), (201, True)])
def test_the_default_share_is_a_fifth_of_a_thousand(rejected: int, trips: bool) -> None:
    bad = [False] * (1_000 - rejected) + [True] * rejected
    assert (first_trip(bad, Limits(), [7]) is not None) == trips


def test_what_has_left_the_window_no_longer_counts() -> None:
    bad = ([True] * 3 + [False] * 7) * 5
    assert first_trip(bad, SMALL, [4]) is None
    assert first_trip([*bad, True, True, True, True], SMALL, [4]) is not None


def test_good_records_cost_nothing_to_remember() -> None:
    measured = measure(Measured(), Limits(), 10**6, [])
    assert measured == Measured(judged=10**6)
