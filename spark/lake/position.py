"""How much of the judged log is in a table: a property of the very snapshot that brought the rows.

So rows and position are committed together or not at all. Whoever rewrites files (compaction) makes snapshots
without it; the newest one in the table's history that has it counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from pyspark.sql import Row, SparkSession

from dataforge.errors import Fatal

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


def lineage(spark: SparkSession, table: Table) -> list[Row]:
    """The current snapshot and those before it, as far as they are kept: snapshot_id, said, records, at_ms."""
    at, snapshots, line = current_snapshot(spark, table.name), _snapshots(spark, table), list[Row]()
    while at in snapshots:
        line.append(snapshots[at])
        at = snapshots[at]["parent_id"]
    return line


def head(spark: SparkSession, table: Table) -> Head:
    """*Raises* `Fatal` where the history has rows and no position."""
    line = lineage(spark, table)
    if not line:
        return Head(None, {})
    for one in line:
        if one["said"]:
            return Head(line[0]["snapshot_id"], read(one["said"]), int(line[0]["records"]), line[0]["at_ms"])
    raise Fatal(
        f"{table.name}: no snapshot of its history says how much of the log is in it; what rewrites or expires "
        f"snapshots must carry {PROPERTY!r} on. Drop the table to have it made anew"
    )


def head_at(spark: SparkSession, table: Table, positions: Mapping[int, int]) -> Head | None:
    """The table at the newest snapshot of its history that stands at this position. None: there is no such snapshot."""
    newest: Row | None = None
    for one in lineage(spark, table):
        newest = newest or one
        if one["said"]:
            places = read(one["said"])
            if {p: place.position for p, place in places.items()} == positions:
                return Head(newest["snapshot_id"], places, int(newest["records"]), newest["at_ms"])
            newest = None
    return None


def current_snapshot(spark: SparkSession, table: str) -> int | None:
    """None: nothing was ever written to it."""
    main = f"SELECT snapshot_id FROM {table}.refs WHERE name = 'main'"  # noqa: S608 - our own names
    refs = spark.sql(main).collect()
    return refs[0]["snapshot_id"] if refs else None


def _snapshots(spark: SparkSession, table: Table) -> dict[int, Row]:
    shown = f"summary['{PROPERTY}'] AS said, summary['total-records'] AS records, unix_millis(committed_at) AS at_ms"
    history = f"SELECT snapshot_id, parent_id, {shown} FROM {table.name}.snapshots"  # noqa: S608
    return {row["snapshot_id"]: row for row in spark.sql(history).collect()}


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
