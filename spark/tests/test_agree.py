"""Which days the judge takes together."""

from datetime import date, timedelta

import pytest

from lake.jobs.agree import BYTES, DAYS, spans

pytestmark = pytest.mark.small

FIRST = date(2026, 1, 5)


def days(count: int) -> list[date]:
    return [FIRST + timedelta(days=n) for n in range(count)]


def test_small_days_are_taken_together():
    assert list(spans(days(4), {FIRST: 10})) == [days(4)]


def test_no_run_is_larger_than_memory_allows_but_for_a_day_that_is():
    sizes = dict(zip(days(5), [BYTES // 2, BYTES // 2, 1, 2 * BYTES, 1], strict=True))
    a, b, c, d, e = days(5)
    assert list(spans(days(5), sizes)) == [[a, b], [c], [d], [e]]


def test_days_without_rows_are_limited_too_for_the_live_numbers_may_have_some():
    assert [len(run) for run in spans(days(2 * DAYS + 3), {})] == [DAYS, DAYS, 3]


def test_no_day_no_run():
    assert list(spans([], {})) == []
