"""A window's status: what it says, and that it only moves forward (DESIGN §4, R6a)."""

from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.kpi.status import is_idle, window_status
from dataforge.state.memory import MemoryState
from dataforge.state.model import PartitionRead
from dataforge.testing.kpis import open_writers, sale, sample_domain

ORDER = ["provisional", "settled", "final"]


class Place(NamedTuple):
    watermark: int
    floor: int = 0


@pytest.mark.parametrize(
    ("places", "status"),
    [
        ([], "provisional"),
        ([Place(114)], "provisional"),
        ([Place(115)], "final"),
        ([Place(115), Place(114)], "provisional"),
        ([Place(115), Place(114, 114)], "provisional"),
        ([Place(115), Place(114, 115)], "settled"),
        ([Place(115), Place(0, 115)], "settled"),
        ([Place(115), Place(0)], "provisional"),
        ([Place(115, 500), Place(115)], "final"),
        ([Place(0, 115), Place(0, 115)], "settled"),
    ],
)
def test_a_window_is_what_its_least_partition_says(places: list[Place], status: str) -> None:
    assert window_status(100, 15, places) == status


def test_a_partition_is_idle_until_it_has_caught_up() -> None:
    assert [is_idle(place) for place in (Place(5), Place(5, 5), Place(5, 6), Place(0, 1))] == [
        False,
        False,
        True,
        True,
    ]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 2), st.integers(0, 9)),
        st.tuples(st.just("settle"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("read"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("claim"), st.integers(0, 2), st.integers(0, 99)),
    ),
    max_size=60,
)


@settings(max_examples=100)
@given(steps)
async def test_the_status_a_reader_shows_only_moves_forward(steps: list[Any]) -> None:
    """Commits, idleness, new owners and reads of single partitions, in any order: a reader mixes old and new reads."""
    domain, state = sample_domain(partitions=3), MemoryState()
    event = domain.events[0]
    writers = await open_writers(state, domain)
    reads: list[PartitionRead] = [await state.head(event.contract.name, p) for p in range(3)]
    ends, shown = range(10_000, 120_000, 10_000), [0] * 11
    for what, partition, number in steps:
        writer = writers[partition]
        if what == "write":
            await writer.write([sale(number * 10_000 + 1)])
        elif what == "settle":
            await writer.settle(max(w.watermark for w in writers))
        elif what == "claim":
            await writer.open(f"c{number}")
        else:
            reads[partition] = await state.head(event.contract.name, partition)
        now = [ORDER.index(window_status(end, event.lateness_ms, reads)) for end in ends]
        assert all(before <= after for before, after in zip(shown, now, strict=True))
        shown = now
