"""Silver beside bronze: which days lack an event, and these days once more from what bronze holds."""

from collections.abc import Collection
from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.model import EventType

from lake import commit, tables
from lake.gaps.compare import Gaps, Part, differing
from lake.jobs.silver import at
from lake.position import head, within
from lake.schema import REPLACED, quoted
from lake.transforms.enrich import enriched
from lake.transforms.first import earliest
from lake.transforms.typed import typed
from lake.when import instant, on_dates


def silver_gaps(spark: SparkSession, event: EventType, since_ms: int) -> Gaps[date]:
    """Of events since then, by append time: earlier rows of silver are taken as they are. *Raises* `Fatal`."""
    source, table = tables.bronze(event.contract), tables.silver(event)
    # Bronze is looked at later, so it holds all that silver was made of.
    now, bronze = head(spark, table), head(spark, source)
    ends = {partition: place.position for partition, place in now.places.items()}
    where = f"({within({}, ends, quoted('partition'), 'judged_offset')}) AND verdict = 'valid'"
    valid = at(spark, source, bronze).where(where).where(f"ts >= {instant(since_ms)}")
    there = at(spark, table, now)
    before = there.where(f"df_ts < {instant(since_ms)}")
    # Of two with one id the earlier by append time is silver's, so what was there before goes first.
    rows = earliest(typed(valid, event.contract)).join(before.select("df_id"), "df_id", "left_anti")

    def recent(some: DataFrame) -> DataFrame:
        return some.where(f"df_time >= {instant(since_ms)}")

    held = recent(there.where(f"df_ts >= {instant(since_ms)}"))

    def fill(days: Collection[date]) -> None:
        whole = on_dates("df_time", days)
        anew = enriched(rows.where(whole), event).withColumn(REPLACED.name, F.array().cast(REPLACED.type))
        filled = before.where(whole).unionByName(anew, allowMissingColumns=True)
        commit.overwrite(filled, table, whole, now, None)

    return Gaps(differing(_parts(recent(rows)), _parts(held)), fill)


def _parts(rows: DataFrame) -> dict[date, Part]:
    """Day -> how many events, and which."""
    check = F.sum(F.xxhash64("df_id", "df_partition", "df_offset").cast("decimal(38,0)"))
    days = rows.groupBy(F.to_date("df_time").alias("day")).agg(F.count(F.lit(1)).alias("rows"), check.alias("check"))
    return {row["day"]: Part(row["rows"], int(row["check"])) for row in days.collect()}
