"""The plan of a replay: seeded, complete, and sure of what it injects."""

from collections import Counter
from dataclasses import astuple

import numpy as np
import pytest

from devstack.replay.malformed import KINDS
from devstack.replay.plan import (
    DUPLICATE,
    KIND_NAMES,
    LATE_BEYOND,
    LATE_WITHIN,
    MALFORMED,
    OUT_OF_ORDER,
    Faults,
    Horizons,
    Plan,
    plan,
)
from devstack.replay.timeline import Timeline, at_once, at_rate, at_speed

N, PARTITIONS = 5_000, 4
HORIZONS = Horizons(lateness_ms=3_000, dedupe_ms=60_000)
FAULTS = Faults(duplicates=0.02, late=0.04, out_of_order=0.03, malformed=0.02)


def make(timeline: Timeline, faults: Faults = FAULTS, seed: int = 3) -> Plan:
    partition = np.random.default_rng(0).integers(0, PARTITIONS, N)
    return plan(timeline, partition, np.ones(N, dtype=bool), PARTITIONS, faults, HORIZONS, seed)


TIMELINES = {
    "at once": at_once(N),
    "at a rate": at_rate(N, 500),
    "at a speed, with nights": at_speed(
        np.sort(np.random.default_rng(1).integers(0, 10**9, N) // 10**8 * 10**8), 1_000
    ),
}


@pytest.fixture(params=list(TIMELINES))
def timeline(request: pytest.FixtureRequest) -> Timeline:
    return TIMELINES[request.param]


def test_the_same_seed_gives_the_same_plan_and_another_seed_another(timeline: Timeline) -> None:
    again = [np.array_equal(a, b) for a, b in zip(astuple(make(timeline)), astuple(make(timeline)), strict=True)]
    assert all(again)
    assert not np.array_equal(make(timeline).kind, make(timeline, seed=4).kind)


def test_every_real_event_is_sent_well_formed_exactly_once(timeline: Timeline) -> None:
    p = make(timeline)
    real = p.index[p.kind < DUPLICATE]
    assert sorted(real.tolist()) == list(range(N))
    assert len(p) == N + round(N * FAULTS.duplicates * 1) + round(N * FAULTS.malformed) - lost_duplicates(p)


def lost_duplicates(p: Plan) -> int:
    """Events beyond lateness are never repeated."""
    return round(N * FAULTS.duplicates) - int((p.kind == DUPLICATE).sum())


def test_without_faults_the_plan_is_the_data_in_order(timeline: Timeline) -> None:
    p = make(timeline, Faults())
    assert p.index.tolist() == list(range(N))
    assert np.array_equal(p.event_ms, timeline.planned_ms)
    assert np.array_equal(p.send_ms, timeline.planned_ms)


def test_late_and_delayed_events_are_what_they_claim_under_the_watermark_rule(timeline: Timeline) -> None:
    """R6a by hand, with every event appended at its planned instant or later."""
    p = make(timeline)
    watermark: dict[int, int] = {}
    seen: set[int] = set()
    kinds: Counter[str] = Counter()
    for index, kind, partition, event_ms in zip(p.index, p.kind, p.partition, p.event_ms, strict=True):
        if kind >= MALFORMED:
            continue
        before = watermark.get(partition, -(10**15))
        if kind == DUPLICATE:
            assert int(index) in seen
            continue
        assert (event_ms + HORIZONS.lateness_ms <= before) == (kind == LATE_BEYOND)
        seen.add(int(index))
        kinds[KIND_NAMES[kind]] += 1
        watermark[partition] = max(before, event_ms)
    assert kinds["late_beyond"] > 50
    assert kinds["late_within"] > 50
    assert kinds["out_of_order"] > 50


def test_out_of_order_events_really_follow_later_ones() -> None:
    p = make(at_rate(N, 500), Faults(out_of_order=0.1))
    before = np.maximum.accumulate(p.event_ms)
    overtaken = (p.kind == OUT_OF_ORDER) & (p.event_ms < before)
    assert overtaken.sum() > 0.8 * (p.kind == OUT_OF_ORDER).sum()


def test_no_event_is_sent_before_its_event_time(timeline: Timeline) -> None:
    p = make(timeline)
    assert (p.event_ms <= p.send_ms).all()
    assert (np.diff(p.send_ms) >= 0).all()


def test_duplicates_follow_their_original_within_the_dedupe_horizon(timeline: Timeline) -> None:
    p = make(timeline)
    sent = {int(i): int(ms) for i, ms, k in zip(p.index, p.send_ms, p.kind, strict=True) if k < DUPLICATE}
    apart = [int(ms) - sent[int(i)] for i, ms, k in zip(p.index, p.send_ms, p.kind, strict=True) if k == DUPLICATE]
    assert len(apart) > 50
    assert min(apart) >= 0
    assert max(apart) < HORIZONS.dedupe_ms


def test_every_kind_of_bad_input_comes_in_turn_and_huge_ones_are_rare(timeline: Timeline) -> None:
    counts = Counter(KIND_NAMES[k] for k in make(timeline, Faults(malformed=0.5)).kind if k >= MALFORMED)
    assert set(counts) == set(KINDS)
    assert counts["huge_value"] == 9
    assert min(n for kind, n in counts.items() if kind != "huge_value") > 100


def test_shares_are_kept() -> None:
    kinds = make(at_once(N)).kind
    assert ((kinds == LATE_BEYOND) | (kinds == LATE_WITHIN)).sum() == round(N * FAULTS.late)
    assert abs(int((kinds == LATE_BEYOND).sum()) - N * FAULTS.late / 2) < 5
