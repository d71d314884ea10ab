"""How much of the judged log is in a table: a property of the very snapshot that brought the rows.

So rows and position are committed together or not at all. Whoever rewrites files (compaction) makes snapshots
without it; the newest one in the table's history that has it counts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from pyspark.sql import SparkSession

from dataforge.errors import Fatal

from lake.iceberg import loaded
from lake.tables import Table

PROPERTY = "df.position"


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """One partition."""

    position: int = 0
    """Next judged offset."""
    next: int = 0
    """Bronze: the acceptance fold after it (next raw offset)."""
    topic_id: str = ""
    """Bronze: of the judged topic, hex."""


Places = Mapping[int, Place]
"""Partition -> place; a partition that is not in it is at its beginning."""


@dataclass(frozen=True, slots=True)
class Head:
    """A table at its current snapshot."""

    snapshot: int | None
    """None: nothing was ever written to it."""
    places: Places
    records: int = 0
    committed_ms: int = 0

    def at(self, partition: int) -> Place:
        return self.places.get(partition, Place())


class Snapshot(NamedTuple):
    id: int
    said: str | None
    """Its position, where it brought one."""
    records: int
    """Of the table."""
    added: int
    """Rows that it brought; 0 where it made other files of those that were there."""
    at_ms: int


def lineage(spark: SparkSession, table: Table) -> Iterator[Snapshot]:
    """The current snapshot and those before it, as far as they are kept."""
    there = loaded(spark, table.name)
    one = there.currentSnapshot()
    while one is not None:
        yield _snapshot(one)
        parent = one.parentId()
        one = None if parent is None else there.snapshot(parent)


def kept(spark: SparkSession, table: Table) -> list[Snapshot]:
    """Every snapshot that the table has, also those that are not in its history."""
    return [_snapshot(one) for one in loaded(spark, table.name).snapshots()]


def _snapshot(one: Any) -> Snapshot:
    said = one.summary() or {}
    added = 0 if one.operation() == "replace" else int(said.get("added-records") or 0)
    records = int(said.get("total-records") or 0)
    return Snapshot(one.snapshotId(), said.get(PROPERTY), records, added, one.timestampMillis())


def head(spark: SparkSession, table: Table) -> Head:
    """*Raises* `Fatal` where the history has rows and no position."""
    newest: Snapshot | None = None
    for one in lineage(spark, table):
        newest = newest or one
        if one.said:
            return _head(newest, read(one.said))
    if newest is None:
        return Head(None, {})
    raise Fatal(
        f"{table.name}: no snapshot of its history says how much of the log is in it; what rewrites or expires "
        f"snapshots must carry {PROPERTY!r} on. Drop the table to have it made anew"
    )


def head_at(spark: SparkSession, table: Table, positions: Mapping[int, int]) -> Head | None:
    """The table at the newest snapshot of its history that stands at this position. None: there is no such snapshot."""
    newest: Snapshot | None = None
    for one in lineage(spark, table):
        newest = newest or one
        if one.said:
            places = read(one.said)
            if {p: place.position for p, place in places.items()} == positions:
                return _head(newest, places)
            newest = None
    return None


def _head(newest: Snapshot, places: Places) -> Head:
    return Head(newest.id, places, newest.records, newest.at_ms)


def current_snapshot(spark: SparkSession, table: str) -> int | None:
    """None: nothing was ever written to it."""
    current = loaded(spark, table).currentSnapshot()
    return None if current is None else current.snapshotId()


def read(said: str) -> dict[int, Place]:
    return msgspec.json.decode(said, type=dict[int, Place])


def write(places: Places) -> str:
    return msgspec.json.encode(dict(sorted(places.items()))).decode()


def within(positions: Mapping[int, int], until: Mapping[int, int], partition: str, offset: str) -> str:
    """SQL: the rows at or beyond `positions` and before `until`; false where there can be none.

    `partition` and `offset` name the columns that hold a row's judged place.
    """
    clauses = [
        f"({partition} = {p} AND {offset} >= {positions.get(p, 0)}L AND {offset} < {end}L)"
        for p, end in sorted(until.items())
        if end > positions.get(p, 0)
    ]
    return " OR ".join(clauses) or "false"


def beyond(positions: Mapping[int, int], partition: str, offset: str) -> str:
    """SQL: the rows at or beyond `positions`, of these partitions."""
    clauses = [f"({partition} = {p} AND {offset} >= {at}L)" for p, at in sorted(positions.items())]
    return " OR ".join(clauses) or "false"


def since(head: Head, partition: str, offset: str) -> str:
    """SQL: every row that a table at this head cannot have: beyond its place in whatever partition."""
    positions = {p: place.position for p, place in head.places.items()}
    known = ", ".join(map(str, sorted(positions)))
    return f"{beyond(positions, partition, offset)} OR {partition} NOT IN ({known})" if positions else "true"
