"""What is in the lake, and how much of the log."""

from collections.abc import Iterable

import msgspec
from pyspark.sql import SparkSession

from dataforge.contracts.model import Domain
from dataforge.kpi.instants import instant

from lake import tables
from lake.position import head


class TableStatus(msgspec.Struct, frozen=True):
    event: str
    layer: str
    table: str
    records: int
    committed: str | None
    """Instant of the last commit; null: there was none."""
    positions: dict[int, int]
    """Partition -> next judged offset."""


def status(spark: SparkSession, domains: Iterable[Domain]) -> list[TableStatus]:
    """One per table that exists."""
    found: list[TableStatus] = []
    for event in (event for domain in domains for event in domain.events):
        for layer, table in {**tables.of(event), "quarantine": tables.quarantine(event.contract)}.items():
            if tables.exists(spark, table):
                now = head(spark, table)
                positions = {p: place.position for p, place in now.places.items()}
                at = instant(now.committed_ms) if now.snapshot is not None else None
                found.append(TableStatus(event.contract.name, layer, table.name, now.records, at, positions))
    return found
