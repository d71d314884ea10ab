"""Gold beside silver: which days are not what silver's events make them, and these days once more."""

from collections.abc import Collection
from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.model import EventType
from dataforge.kpi.columns import ColumnKind
from dataforge.kpi.plan import Plan, View, plan

from lake import commit, tables
from lake.gaps.compare import Gaps, Part, differing
from lake.jobs.gold import changed_days, of_days, rows_of
from lake.jobs.silver import at
from lake.position import Head, head, within
from lake.transforms.windows import gold_rows
from lake.when import day_of, instant

_REPEATABLE = frozenset({ColumnKind.COUNT, ColumnKind.SUM, ColumnKind.MIN, ColumnKind.MAX, ColumnKind.HLL})
"""Of these a metric's value is the same, to the bit, whenever the same is counted."""


def gold_gaps(spark: SparkSession, event: EventType, since_ms: int) -> Gaps[date]:
    """Days that the next run of the gold job makes anew are left to it. *Raises* `Fatal`."""
    source, table, of_event = tables.silver(event), tables.gold(event.contract), plan(event)
    now, silver = head(spark, table), head(spark, source)
    events = at(spark, source, silver)
    since = F.lit(day_of(since_ms))
    made = gold_rows(events.where(f"df_time >= {instant(since_ms)}"), of_event).where(F.col("day") >= since)
    held = at(spark, table, now).where(F.col("day") >= since)
    rows = differing(_parts(made, of_event), _parts(held, of_event))
    under_way = set(changed_days(_new(events, silver, now), of_event)) if rows else set()

    def fill(days: Collection[date]) -> None:
        commit.overwrite(rows_of(events, of_event, days), table, of_days(days), now, None)

    return Gaps({day: said for day, said in rows.items() if day not in under_way}, fill)


def _new(events: DataFrame, silver: Head, gold: Head) -> DataFrame:
    """What gold has not taken yet."""
    ends = {partition: place.position for partition, place in silver.places.items()}
    return events.where(within({p: gold.at(p).position for p in ends}, ends, "df_partition", "df_judged_offset"))


def _parts(gold: DataFrame, of_event: Plan) -> dict[date, Part]:
    """Day -> how many windows, and what is in them. A sketch's bytes may differ where the same was counted."""
    repeatable = [view.metric.name for view in of_event.views.values() if _is_repeatable(view)]
    value = F.when(F.col("metric").isin(repeatable), F.col("value"))
    said = F.xxhash64("metric", "by", "labels", "size_ms", "start", "top", "bottom", value)
    days = gold.groupBy("day").agg(F.count(F.lit(1)).alias("rows"), F.sum(said.cast("decimal(38,0)")).alias("check"))
    return {row["day"]: Part(row["rows"], int(row["check"])) for row in days.collect()}


def _is_repeatable(view: View) -> bool:
    return all(view.table.columns[at - 1].kind in _REPEATABLE for at in view.columns)
