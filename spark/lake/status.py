"""What is in the lake, how much of the log, and how fast it grows."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import takewhile

import msgspec
from pyspark.sql import SparkSession

from dataforge.contracts.model import Domain, EventType
from dataforge.errors import DataForgeError
from dataforge.kpi.instants import instant

from lake import tables
from lake.landing import Bucket, landed_ends
from lake.log import log_ends
from lake.position import head, lineage
from lake.settings import LakeSettings

_RECENT_S = 60


class TableStatus(msgspec.Struct, frozen=True):
    event: str
    layer: str
    table: str
    records: int
    committed: str | None
    """Instant of the last commit; null: there was none."""
    positions: dict[int, int]
    """Partition -> next judged offset."""
    lag: int | None
    """Judged records that are not in it yet, of the log and of its landing chain; null: neither answers."""
    rows_per_s: float
    """That commits of the last minute brought."""


def status(
    spark: SparkSession, domains: Iterable[Domain], ends: Callable[[EventType, int], dict[int, int] | None]
) -> list[TableStatus]:
    """One per table that exists."""
    found: list[TableStatus] = []
    for domain in domains:
        for event in domain.events:
            there = {layer: table for layer, table in tables.shown(event).items() if tables.exists(spark, table)}
            until = ends(event, domain.partitions) if there else None
            found += [_status(spark, event, layer, table, until) for layer, table in there.items()]
    return found


def _status(
    spark: SparkSession, event: EventType, layer: str, table: tables.Table, ends: dict[int, int] | None
) -> TableStatus:
    now = head(spark, table)
    at = instant(now.committed_ms) if now.snapshot is not None else None
    positions = {p: place.position for p, place in now.places.items()}
    lag = None if ends is None else sum(max(0, end - positions.get(p, 0)) for p, end in ends.items())
    return TableStatus(event.contract.name, layer, table.name, now.records, at, positions, lag, _rate(spark, table))


def _rate(spark: SparkSession, table: tables.Table) -> float:
    since_ms = (time.time() - _RECENT_S) * 1_000
    recent = takewhile(lambda one: one.at_ms > since_ms, lineage(spark, table))
    return round(sum(one.added for one in recent) / _RECENT_S, 1)


def ends(settings: LakeSettings, event: EventType, partitions: int) -> dict[int, int] | None:
    """Partition -> where its judged log ends, or its landing chain, whichever is further; None: neither answers."""
    topic = event.contract.judged_topic
    found: list[dict[int, int]] = []
    with suppress(DataForgeError):
        found.append(log_ends(settings.kafka, topic, partitions))
    with suppress(DataForgeError):
        found.append(landed_ends(Bucket.of(settings), topic, partitions))
    return {p: max(some[p] for some in found) for p in range(partitions)} if found else None
