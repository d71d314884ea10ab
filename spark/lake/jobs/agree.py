"""The judge: gold beside the live numbers, and what late events, far repeats and label caps must make different.

*Cost*: some days' windows at a time, of gold and of Redis, are in the driver's memory: about `BYTES`, or one day's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial
from typing import Any, NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.model import EventType
from dataforge.kpi.plan import Plan, View, plan

from lake import tables
from lake.jobs.gold import of_days, rows_of
from lake.jobs.silver import at
from lake.judge import Agreement, Cell, Cells, Kept, Sides, agreed, lake_cells, live_cells, sides
from lake.live import Live, live_rows, live_watermark
from lake.portions import portions
from lake.position import head, within
from lake.schema import quoted
from lake.transforms.caps import Beyond, beyond_cap
from lake.transforms.enrich import enriched
from lake.transforms.outcomes import outcomes
from lake.transforms.typed import typed
from lake.when import DAY_MS, day_of, midnight_ms

Rows = list[Mapping[str, Any]]
BYTES, DAYS = 100_000_000, 31
"""Of gold, compared at a time at most: what it costs to ask Spark is paid once for all of them."""
_ROW_BYTES = 1_000
"""Without its sketch, in Python."""


@dataclass(frozen=True, slots=True)
class Agree:
    """Compares what gold holds with what Redis shows, where both stand at the same record or can change no more."""

    spark: SparkSession
    redis_url: str
    say: Callable[[str], None]

    def run(self, event: EventType, partitions: int) -> Agreement:
        """*Raises* as `compare`."""
        found = Agreement()
        for compared in self.compare(event, partitions):
            found.add(agreed(compared.sides))
        self.say(f"{event.contract.name}: {found.compared:,} compared, {found.unexplained:,} unexplained")
        return found

    def compare(self, event: EventType, partitions: int) -> Iterator["Compared"]:
        """Some days at a time; nothing where there is nothing to compare.

        *Raises* `Fatal`, `Transient` where the state store does not answer.
        """
        of_event = plan(event)
        source, table = tables.bronze(event.contract), tables.gold(event.contract)
        if not of_event.views or not tables.exists(self.spark, table):
            return
        gold, bronze = head(self.spark, table), head(self.spark, source)
        if gold.snapshot is None:
            return
        positions = {p: place.position for p, place in gold.places.items()}
        log = at(self.spark, source, bronze).where(within({}, positions, quoted("partition"), "judged_offset"))
        judged = _Judged.of(log, of_event)
        try:
            kept = Kept(positions, judged.watermarks(), event.lateness_ms, event.ttl_ms)
            rows = at(self.spark, table, gold)
            kept_days = list(days_kept(of_event, live_watermark(self.redis_url, event, partitions)))
            sizes = _sizes(rows.where(F.col("day").between(kept_days[0], kept_days[-1])))
            for days in spans(kept_days, sizes):
                held = _collected(rows.where(of_days(days))) if sizes.keys() & set(days) else []
                yield self._of_days(days, held, judged, kept, partitions)
        finally:
            judged.valid.unpersist()

    def _of_days(self, days: Sequence[date], gold: Rows, judged: "_Judged", kept: Kept, partitions: int) -> "Compared":
        """Of the windows that begin on these consecutive days."""
        of_event = judged.plan
        shown = of_event.views
        views, from_ms, until_ms = list(shown.values()), midnight_ms(days[0]), midnight_ms(days[-1]) + DAY_MS
        look = partial(live_rows, self.redis_url, of_event.event, partitions, views, from_ms, until_ms)
        reads, overlays = read = look()
        live, corrected = live_cells(views, reads, kept), live_cells(views, reads, kept, overlays)
        lake = {
            cell: value
            for cell, value in lake_cells(shown, gold).items()
            if _is_live(cell, shown)
            and kept.holds(cell.start_ms + cell.size_ms, reads[shown[cell.metric, cell.by].table.id, cell.size_ms])
        }

        def expected(cells: Sequence[Cell]) -> Cells:
            due = rows_of(judged.counted(), of_event, days, judged.beyond)
            rows = lake_cells(shown, _collected(due))
            return {cell: rows[cell] for cell in cells if cell in rows}

        return Compared(sides(live, lake, expected, corrected), kept, read, look, views, gold)


class Compared(NamedTuple):
    """What was held against each other of some days, and where it is from."""

    sides: Sides
    kept: Kept
    live: Live
    look: Callable[[], Live]
    """What `live` is by now."""
    views: Sequence[View]
    gold: Rows
    """As `judge.lake_cells` reads them."""


def days_kept(of_event: Plan, watermark_ms: int) -> Iterator[date]:
    """The days on which a window may begin that the live numbers still have: from the oldest that has not expired to
    how far ahead an event may be.
    """
    longest = max(size for table in of_event.tables for size in table.windows_ms)
    first = max(0, watermark_ms - of_event.event.ttl_ms - longest)
    last = watermark_ms + of_event.event.contract.max_ahead_ms
    yield from map(day_of, range(first - first % DAY_MS, last + 1, DAY_MS))


def spans(days: Iterable[date], sizes: Mapping[date, int]) -> Iterator[list[date]]:
    """The days in runs of `BYTES` and `DAYS` at most, but of one day at least. Pure.

    `sizes`: day -> bytes of its rows.
    """
    return portions(((day, sizes.get(day, 0)) for day in days), BYTES, DAYS)


@dataclass(frozen=True)
class _Judged:
    """The valid records of the log, with what the live fold made of each."""

    plan: Plan
    valid: DataFrame

    @classmethod
    def of(cls, log: DataFrame, plan: Plan) -> "_Judged":
        event = plan.event
        valid = enriched(typed(log.where("verdict = 'valid'"), event.contract), event)
        return cls(plan, valid.join(outcomes(log, valid, event), ["df_partition", "df_offset"]).cache())

    def counted(self) -> DataFrame:
        return self.valid.where("outcome = 'counted'")

    @cached_property
    def beyond(self) -> Beyond:
        """What is beyond the label caps."""
        return beyond_cap(self.counted(), self.plan)

    def watermarks(self) -> dict[int, int]:
        """Partition -> watermark in ms: the largest event time, never ahead of its record's append time."""
        rows = (
            self.valid.where("outcome != 'duplicate'")
            .groupBy("df_partition")
            .agg(F.max(F.least(F.unix_millis("df_time"), F.unix_millis("df_ts"))).alias("at_ms"))
        )
        return {row["df_partition"]: row["at_ms"] for row in rows.collect()}


def _is_live(cell: Cell, shown: Mapping[tuple[str, tuple[str, ...]], View]) -> bool:
    """Gold has days of every metric, the live numbers only the windows that they are asked for."""
    view = shown.get((cell.metric, cell.by))
    return view is not None and cell.size_ms in view.table.windows_ms


def _sizes(gold: DataFrame) -> dict[date, int]:
    bytes_ = F.sum(F.coalesce(F.octet_length("sketch"), F.lit(0)) + _ROW_BYTES).alias("bytes")
    return {row["day"]: row["bytes"] for row in gold.groupBy("day").agg(bytes_).collect()}


def _collected(gold: DataFrame) -> Rows:
    names = ("metric", "by", "labels", "size_ms", "value", "top", "bottom", "sketch")
    rows = gold.select(*names, F.unix_millis("start").alias("start_ms")).collect()
    return [row.asDict() for row in rows]
