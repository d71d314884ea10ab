"""The cap on labels: which values get a row of their own depends on their order in the log alone."""

from hypothesis import given
from hypothesis import strategies as st

from dataforge.contracts.model import OTHER

from aggregator.windows import Labels
from sale_events import SHOP_TABLE, TOTAL_TABLE


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 8), st.sets(st.integers(0, 60), max_size=4))
def test_the_first_values_get_rows_whatever_restarts_come_between(
    values: list[int], cap: int, restarts: set[int]
) -> None:
    labels = Labels(SHOP_TABLE, cap)
    distinct = list(dict.fromkeys(values))
    overflowed = 0
    for n, value in enumerate(values):
        if n in restarts:
            overflowed += labels.overflowed
            labels = Labels(SHOP_TABLE, cap, tuple(labels.known()))
        expected = str(value) if value in distinct[:cap] else OTHER
        assert labels.of(value) == f'["{expected}"]'
        assert len(labels.known()) <= cap
    assert overflowed + labels.overflowed == sum(value not in distinct[:cap] for value in values)


def test_a_total_has_one_row_whatever_the_cap() -> None:
    labels = Labels(TOTAL_TABLE, 1)
    assert {labels.of(()) for _ in range(3)} == {"[]"}
    assert labels.overflowed == 0


def test_what_is_too_long_for_a_label_is_not_remembered() -> None:
    labels = Labels(SHOP_TABLE, 8)
    long = [f"{n}".rjust(1_000) for n in range(50)]
    assert {labels.of(text) for text in long} == {f'["{OTHER}"]'}
    assert labels.of("short") == '["short"]'
    assert list(labels._cache) == ["short"]
