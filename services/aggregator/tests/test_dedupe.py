"""What is remembered of event ids: at least the horizon, in log time, and the same after any restart."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.dedupe import MINUTE_MS, SeenIds

arrivals = st.lists(
    st.tuples(st.integers(0, 90_000), st.sampled_from("abcde"), st.booleans()),
    max_size=80,
)
"""(ms of log time since the one before, event id, whether the owner changes before it)"""


class Naive:
    """Every first sight ever, looked through each time."""

    def __init__(self, horizon_ms: int) -> None:
        self._horizon_ms, self._sights = horizon_ms, list[tuple[int, str]]()

    def first(self, clock: int, event_id: str) -> bool:
        minute = clock // MINUTE_MS * MINUTE_MS
        known = any(i == event_id and minute < m + MINUTE_MS + self._horizon_ms for m, i in self._sights)
        if not known:
            self._sights.append((minute, event_id))
        return not known


def first_seen(seen: SeenIds, event_id: str) -> bool:
    return len(seen.first([event_id])) == 1


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=8), max_size=6))
def test_of_many_at_once_the_first_of_each_is_the_first(batches: list[list[str]]) -> None:
    seen, known = SeenIds(MINUTE_MS), list[str]()
    seen.advance(0)
    for ids in batches:
        expected: list[int] = []
        for at, event_id in enumerate(ids):
            if event_id not in known:
                known.append(event_id)
                expected.append(at)
        assert list(seen.first(ids)) == expected
        assert (seen.current, seen.ids) == (known, set(known))


@given(arrivals, st.integers(0, 5 * MINUTE_MS))
def test_it_remembers_what_the_naive_model_remembers_and_restarts_change_nothing(
    arrivals: list[tuple[int, str, bool]], horizon_ms: int
) -> None:
    seen, naive, clock = SeenIds(horizon_ms), Naive(horizon_ms), 0
    stored: defaultdict[int, list[str]] = defaultdict(list)
    for later_ms, event_id, restarts in arrivals:
        if restarts:
            seen = SeenIds(horizon_ms, stored)
            assert not seen.advance(clock), "what was forgotten before is not forgotten again"
        clock += later_ms
        for minute in seen.advance(clock):
            stored.pop(minute, None)
        first = first_seen(seen, event_id)
        assert first == naive.first(clock, event_id)
        if first:
            stored[seen.minute].append(event_id)
        assert set(seen.new().get(seen.minute, ())) >= ({event_id} if first else set())
        assert len(seen) == sum(map(len, stored.values()))


@pytest.mark.parametrize("horizon_ms", [MINUTE_MS, 10 * MINUTE_MS, 90_000])
@given(first_ms=st.integers(0, 10 * MINUTE_MS), later_ms=st.integers(0, 20 * MINUTE_MS))
def test_an_id_is_known_for_the_horizon_and_not_much_longer(horizon_ms: int, first_ms: int, later_ms: int) -> None:
    seen = SeenIds(horizon_ms)
    seen.advance(first_ms)
    assert first_seen(seen, "a")
    seen.advance(first_ms + later_ms)
    forgotten = first_seen(seen, "a")
    whole_minutes = -(-horizon_ms // MINUTE_MS) * MINUTE_MS
    if later_ms <= horizon_ms:
        assert not forgotten
    if later_ms >= whole_minutes + MINUTE_MS:
        assert forgotten
