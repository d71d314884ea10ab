"""The judge: gold beside the live numbers, and what late events and far repeats must make different."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.model import EventType
from dataforge.kpi.plan import View, plan

from lake import tables
from lake.jobs.silver import at
from lake.judge import Agreement, Cell, Cells, Kept, Sides, agreed, lake_cells, live_cells, sides
from lake.live import Live, live_rows
from lake.position import head, within
from lake.schema import quoted
from lake.transforms.enrich import enriched
from lake.transforms.outcomes import outcomes
from lake.transforms.typed import typed
from lake.transforms.windows import computed, gold_rows, on_days

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Agree:
    """Compares what gold holds with what Redis shows, where both stand at the same record or can change no more."""

    spark: SparkSession
    redis_url: str
    say: Callable[[str], None]

    def run(self, event: EventType, partitions: int) -> Agreement:
        """*Raises* as `compare`."""
        compared = self.compare(event, partitions)
        found = agreed(compared.sides) if compared else Agreement()
        self.say(f"{event.contract.name}: {found.compared:,} compared, {found.unexplained:,} unexplained")
        return found

    def compare(self, event: EventType, partitions: int) -> "Compared | None":
        """None where there is nothing to compare. *Raises* `Fatal`, `Transient` where the state store is away."""
        of_event = plan(event)
        views = computed(of_event)
        source, table = tables.bronze(event.contract), tables.gold(event.contract)
        if not views or not tables.exists(self.spark, table):
            return None
        gold, bronze = head(self.spark, table), head(self.spark, source)
        if gold.snapshot is None:
            return None
        positions = {p: place.position for p, place in gold.places.items()}
        log = at(self.spark, source, bronze).where(within({}, positions, quoted("partition"), "judged_offset"))
        judged = _Judged.of(log, event)
        kept = Kept(positions, judged.watermarks(), event.lateness_ms, event.ttl_ms)
        reads, overlays = found = live_rows(self.redis_url, event, partitions, views)
        live, corrected = live_cells(views, reads, kept), live_cells(views, reads, kept, overlays)
        shown = {(view.metric.name, view.by): view for view in views}
        rows = _collected(at(self.spark, table, gold))
        lake = {
            cell: value
            for cell, value in lake_cells(shown, rows).items()
            if _is_live(cell, shown)
            and kept.holds(cell.start_ms + cell.size_ms, reads[shown[cell.metric, cell.by].table.id, cell.size_ms])
        }

        def expected(cells: Sequence[Cell]) -> Cells:
            days = sorted({_day(cell.start_ms) for cell in cells})
            counted = on_days(judged.counted(), of_event, days)
            rows = lake_cells(shown, _collected(gold_rows(counted, of_event)))
            return {cell: rows[cell] for cell in cells if cell in rows}

        return Compared(sides(live, lake, expected, corrected), kept, found, views, rows)


class Compared(NamedTuple):
    """What was held against each other, and where it is from."""

    sides: Sides
    kept: Kept
    live: Live
    views: Sequence[View]
    gold: Sequence[Mapping[str, Any]]
    """Its rows, as `judge.lake_cells` reads them."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """The valid records of the log, with what the live fold made of each."""

    valid: DataFrame

    @classmethod
    def of(cls, log: DataFrame, event: EventType) -> "_Judged":
        valid = enriched(typed(log.where("verdict = 'valid'"), event.contract), event)
        return cls(valid.join(outcomes(log, valid, event), ["df_partition", "df_offset"]).cache())

    def counted(self) -> DataFrame:
        return self.valid.where("outcome = 'counted'")

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


def _collected(gold: DataFrame) -> list[Mapping[str, Any]]:
    names = ("metric", "by", "labels", "size_ms", "value", "top", "bottom", "sketch")
    rows = gold.select(*names, F.unix_millis("start").alias("start_ms")).collect()
    return [row.asDict() for row in rows]


def _day(at_ms: int) -> date:
    return (_EPOCH + timedelta(milliseconds=at_ms)).date()
