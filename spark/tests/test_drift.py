"""A day against the days before it. No Spark."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.drift import history, shift

COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10_000), min_size=1)


def test_days_without_an_event_are_days():
    found = history({10: 100, 11: 100, 13: 300, 14: 60, 15: 5}, today=15, days=6)
    assert found is not None
    assert (found.first, found.day, found.rows, found.before) == (10, 14, 60, 500)
    assert found.ratio == pytest.approx(0.6)  # of 100, 100, 0 and 300 the median is 100
    missing = history({10: 100, 11: 100, 12: 100, 15: 5}, today=15, days=28)
    assert missing is not None
    assert (missing.rows, missing.ratio) == (0, 0.0)


@pytest.mark.parametrize("by_day", [{}, {15: 9}, {12: 9, 13: 9, 14: 9, 15: 1}, {11: 1, 14: 9, 15: 1}])
def test_little_history_says_nothing(by_day: dict[int, int]):
    assert history(by_day, today=15, days=28) is None


def test_only_the_last_days_are_history():
    found = history({day: 1_000 if day < 10 else 10 for day in range(1, 16)}, today=15, days=6)
    assert found is not None
    assert (found.first, found.ratio) == (10, 1.0)


@given(COUNTS, COUNTS, st.integers(2, 50))
def test_an_index_is_of_shares_and_is_nothing_where_they_are_alike(
    one: dict[str, int], other: dict[str, int], times: int
):
    assert shift(one, other) >= 0
    assert shift(one, {name: times * count for name, count in one.items()}) == pytest.approx(0)
    assert shift(one, other) == pytest.approx(shift(other, one))


def test_the_index_is_the_known_one():
    """Worked by hand: shares 0.5, 0.5 against 0.8, 0.2: 0.3 ln 1.6 - 0.3 ln 0.4."""
    assert shift({"a": 50, "b": 50}, {"a": 80, "b": 20}) == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4))
    assert shift({"a": 100}, {"b": 100}) > 10, "another population altogether"
