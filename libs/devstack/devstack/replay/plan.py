"""What is sent, in which order, with which faults. Pure and seeded: the same arguments give the same plan."""

from dataclasses import dataclass

import numpy as np

from devstack.replay.malformed import HUGE, KINDS
from devstack.replay.purchases import Column
from devstack.replay.timeline import Timeline

PLAIN, LATE_WITHIN, LATE_BEYOND, OUT_OF_ORDER, DUPLICATE, MALFORMED = range(6)
"""What a sent record is. From MALFORMED on: MALFORMED + position in `KINDS`."""
KIND_NAMES = ("plain", "late_within", "late_beyond", "out_of_order", "duplicate", *KINDS)

DUPLICATE_DISTANCE = 20_000
DELAY_DISTANCE = 1_000
HUGE_EVERY = 300
HUGE_MOST = 20


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of the real events, 0 to 1."""

    duplicates: float = 0.0
    late: float = 0.0
    out_of_order: float = 0.0
    malformed: float = 0.0


@dataclass(frozen=True, slots=True)
class Horizons:
    """What the domain promises; faults are placed clearly on one side of it."""

    lateness_ms: int
    dedupe_ms: int


@dataclass(frozen=True, slots=True)
class Plan:
    """*Shape*: one element per record sent, in sending order.

    *Guarantees*: every real event is sent well-formed exactly once; duplicates and malformed records come on top.
    """

    index: Column
    """Position in `Purchases`; of a malformed record, the purchase it is made from."""
    kind: Column
    partition: Column
    event_ms: Column
    """Event time, from the timeline's origin."""
    send_ms: Column
    """Planned instant of sending, from the timeline's origin."""

    def __len__(self) -> int:
        return len(self.index)


def plan(
    timeline: Timeline,
    partition: Column,
    ordinary: Column,
    partitions: int,
    faults: Faults,
    horizons: Horizons,
    seed: int,
) -> Plan:
    """Lay out a replay. `partition` and `ordinary` hold one element per real event, in time order."""
    rng = np.random.default_rng(seed)
    planned = timeline.planned_ms
    n = len(planned)
    kind = _kinds(rng, n, faults)
    _keep_certain(kind, planned, partition, ordinary, partitions, horizons.lateness_ms)

    within, beyond = kind == LATE_WITHIN, kind == LATE_BEYOND
    shift = np.where(within, rng.uniform(0.2, 0.6, n), 0) + np.where(beyond, rng.uniform(3, 5, n), 0)
    event_ms = planned - (shift * horizons.lateness_ms).astype(np.int64)

    key = np.arange(n, dtype=np.float64)
    delay = _distance(rng, planned, 0.2 * horizons.lateness_ms, DELAY_DISTANCE)
    key += np.where(kind == OUT_OF_ORDER, delay + 0.25, 0)

    # A delayed event is repeated at once: its reach was measured from where it should have been sent.
    apart = np.where(kind == OUT_OF_ORDER, 0, _distance(rng, planned, 0.4 * horizons.dedupe_ms, DUPLICATE_DISTANCE))
    twice = np.flatnonzero(~beyond & _chosen(rng, n, faults.duplicates))

    bad = np.sort(rng.integers(0, n, round(n * faults.malformed)))
    bad_kind = _bad_kinds(len(bad))
    keyless = bad_kind == MALFORMED + KINDS.index("null_key")

    all_keys = np.concatenate([key, key[twice] + apart[twice] + 0.5, bad + 0.75])
    order = np.argsort(all_keys, kind="stable")
    return Plan(
        index=np.concatenate([np.arange(n), twice, bad])[order],
        kind=np.concatenate([kind, np.full(len(twice), DUPLICATE), bad_kind])[order],
        partition=np.concatenate(
            [partition, partition[twice], np.where(keyless, rng.integers(0, partitions, len(bad)), partition[bad])]
        )[order],
        event_ms=np.concatenate([event_ms, event_ms[twice], planned[bad]])[order],
        send_ms=planned[np.minimum(all_keys.astype(np.int64), n - 1)][order],
    )


def _chosen(rng: np.random.Generator, n: int, share: float) -> Column:
    mask = np.zeros(n, dtype=bool)
    mask[rng.choice(n, round(n * share), replace=False)] = True
    return mask


def _kinds(rng: np.random.Generator, n: int, faults: Faults) -> Column:
    kind = np.full(n, PLAIN)
    late = rng.permutation(n)[: round(n * faults.late)]
    kind[late[::2]] = LATE_BEYOND
    kind[late[1::2]] = LATE_WITHIN
    kind[_chosen(rng, n, faults.out_of_order) & (kind == PLAIN)] = OUT_OF_ORDER
    return kind


def _keep_certain(
    kind: Column, planned: Column, partition: Column, ordinary: Column, partitions: int, lateness_ms: int
) -> None:
    """Beyond lateness only where the watermark has surely passed; elsewhere the event is late within.

    An event shifted back by 3 × lateness or more is late once its partition holds an ordinary event, in
    order, not older than 2 × lateness before it.
    """
    n = len(kind)
    position = np.arange(n)
    certain = np.zeros(n, dtype=bool)
    for p in range(partitions):
        anchor = np.where((partition == p) & ordinary & (kind == PLAIN), position, -1)
        last = np.concatenate([[-1], np.maximum.accumulate(anchor)[:-1]])
        certain |= (partition == p) & (last >= 0) & (planned[last] >= planned - 2 * lateness_ms)
    kind[(kind == LATE_BEYOND) & ~certain] = LATE_WITHIN


def _distance(rng: np.random.Generator, planned: Column, within_ms: float, most: int) -> Column:
    """A random distance in events, below `most` and never reaching further than `within_ms` of planned time."""
    reach = np.searchsorted(planned, planned + int(within_ms), side="right") - np.arange(len(planned)) - 1
    return (rng.uniform(0, 1, len(planned)) * np.minimum(reach, most)).astype(np.int64)


def _bad_kinds(count: int) -> Column:
    """All kinds in turn, but values of 5 MB once in a while and never more than `HUGE_MOST`."""
    common = [MALFORMED + i for i, name in enumerate(KINDS) if name != HUGE]
    kinds = np.resize(common, count)
    huge = np.arange(len(common), count, HUGE_EVERY)[:HUGE_MOST]
    kinds[huge] = MALFORMED + KINDS.index(HUGE)
    return kinds
