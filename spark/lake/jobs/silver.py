"""Bronze to silver: valid rows, typed, each event once over all time, with their dimensions."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.model import EventType
from dataforge.errors import Fatal

from lake import tables
from lake.commit import moving_to
from lake.conflict import again
from lake.failures import named
from lake.position import Head, Place, head, within
from lake.schema import REPLACED, quoted
from lake.transforms.enrich import enriched
from lake.transforms.first import ORDER, earliest
from lake.transforms.typed import typed

_NEW = "df_new_rows"


class Step(NamedTuple):
    """What a part of a run did."""

    commits: int
    left: int
    """Records that are there and not yet taken."""


class Gate(Protocol):
    """What looks at the rows of each write: `lake.jobs.gate.Gate`."""

    def catch_up(self, event: EventType, bronze: Head, silver: Head) -> None: ...

    def through(
        self, event: EventType, rows: DataFrame, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> AbstractContextManager[DataFrame]:
        """The same rows, once they are looked at."""
        ...


@dataclass(frozen=True, slots=True)
class Silver:
    """*Guarantees*: silver is a function of what bronze holds: of all valid records with one event id it has the
    earliest, in whatever order and portions they came. Of two that run at once, one finds what the other brought, or
    is refused and begins again from there.
    """

    spark: SparkSession
    commit_rows: int
    say: Callable[[str], None]
    gate: Gate | None = None

    def run(self, event: EventType) -> int:
        """Take all that bronze holds beyond silver's position. Returns how many commits it took. *Raises* `Fatal`."""
        commits = 0
        while True:
            step = again(partial(self.step, event), self.say)
            commits += step.commits
            if not step.left:
                return commits

    def step(self, event: EventType) -> Step:
        """Take one portion, in one commit. *Raises* `Fatal`, `Transient`, `Refused`."""
        source, table = tables.bronze(event.contract), tables.silver(event)
        with named():
            if not tables.exists(self.spark, source):
                return Step(0, 0)
            tables.ensure(self.spark, table)
            bronze, now = head(self.spark, source), head(self.spark, table)
            if self.gate is not None:
                self.gate.catch_up(event, bronze, now)
            moved = portion(now, bronze, self.commit_rows)
            if not moved:
                return Step(0, 0)
            positions = {partition: now.at(partition).position for partition in moved}
            where = within(positions, moved, quoted("partition"), "judged_offset")
            valid = at(self.spark, source, bronze).where(f"({where}) AND verdict = 'valid'")
            places = {**now.places, **{partition: Place(end) for partition, end in moved.items()}}
            with self._through(event, typed(valid, event.contract), positions, moved) as seen:
                rows = enriched(earliest(seen), event)
                moving_to(self.spark, places, partial(merge, rows, table))
            demand_moved(table, now, head(self.spark, table))
            self.say(f"{table.name}: to {', '.join(f'{p}: {end:,}' for p, end in sorted(moved.items()))}")
            return Step(1, sum(bronze.at(partition).position - end for partition, end in moved.items()))

    def _through(
        self, event: EventType, rows: DataFrame, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> AbstractContextManager[DataFrame]:
        return nullcontext(rows) if self.gate is None else self.gate.through(event, rows, starts, ends)


def portion(now: Head, source: Head, rows: int) -> dict[int, int]:
    """Partition -> judged offset up to which to go next: about `rows` records in all, what is left at most."""
    share = max(1, rows // max(1, len(source.places)))
    ends = {p: min(place.position, now.at(p).position + share) for p, place in source.places.items()}
    return {p: end for p, end in ends.items() if end > now.at(p).position}


def demand_moved(table: tables.Table, before: Head, after: Head) -> None:
    """*Raises* `Fatal` where a commit came without its position: else the same portion would be taken for ever."""
    if after.places == before.places:
        raise Fatal(f"{table.name}: a commit lost its position; is PYSPARK_PIN_THREAD false? It has to be true")


def at(spark: SparkSession, table: tables.Table, seen: Head) -> DataFrame:
    """The table as it was at that head: what is committed meanwhile is for the next run."""
    return spark.sql(f"SELECT * FROM {table.name} VERSION AS OF {seen.snapshot}")  # noqa: S608 - our own names


def merge(rows: DataFrame, table: tables.Table) -> None:
    """Add the events that silver has not got; let an earlier record of one that it has take its place."""
    new = rows.withColumn(REPLACED.name, F.array().cast(REPLACED.type))
    for name, kind in rows.sparkSession.table(table.name).dtypes:
        if name not in new.columns:  # of a field that the contract has no longer
            new = new.withColumn(name, F.lit(None).cast(kind))
    new.createOrReplaceTempView(_NEW)
    rows.sparkSession.sql(merge_sql(table.name, new.columns))


def merge_sql(table: str, names: Sequence[str]) -> str:
    def order(side: str) -> str:
        return f"struct({', '.join(f'{side}.{name}' for name in ORDER)})"

    # The row that goes may lie in another window than the one that comes: gold has to know of both.
    assigned: Mapping[str, str] = {name: f"s.{quoted(name)}" for name in names} | {
        REPLACED.name: f"array_append(t.{REPLACED.name}, t.df_time)"
    }
    updates = ", ".join(f"t.{quoted(name)} = {value}" for name, value in assigned.items())
    inserts = ", ".join(map(quoted, names))
    values = ", ".join(f"s.{quoted(name)}" for name in names)
    return (  # every name in it is ours or quoted
        f"MERGE INTO {table} t USING {_NEW} s ON t.df_id = s.df_id "  # noqa: S608
        f"WHEN MATCHED AND {order('s')} < {order('t')} THEN UPDATE SET {updates} "
        f"WHEN NOT MATCHED THEN INSERT ({inserts}) VALUES ({values})"
    )
