"""Silver to gold: the KPIs of metrics.yaml by window and by day, anew for every day that has changed, and all of them
where metrics.yaml has.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from functools import partial

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.model import EventType
from dataforge.kpi.plan import Plan, plan

from lake import commit, tables
from lake.conflict import again
from lake.jobs.silver import at
from lake.position import Place, head, within
from lake.retention import kept_from
from lake.schema import REPLACED
from lake.transforms.caps import Beyond
from lake.transforms.windows import days_of, gold_rows, on_days, stamp

MADE_BY = "df.plan"
"""Property of the table: the stamp of the plan that all its days were made by."""


@dataclass(frozen=True, slots=True)
class Gold:
    """*Guarantees*: gold is a function of silver; a day is replaced as a whole, and with it moves the position."""

    spark: SparkSession
    say: Callable[[str], None]

    def run(self, event: EventType) -> int:
        """Bring gold to where silver is. Returns how many commits it took, none or one. *Raises* `Fatal`."""
        source, table, of_event = tables.silver(event), tables.gold(event.contract), plan(event)
        if not of_event.views or not tables.exists(self.spark, source):
            return 0
        tables.ensure(self.spark, table)
        return again(partial(self._once, source, table, of_event), self.say)

    def _once(self, source: tables.Table, table: tables.Table, of_event: Plan) -> int:
        silver, now = head(self.spark, source), head(self.spark, table)
        ends = {p: place.position for p, place in silver.places.items() if place.position > now.at(p).position}
        made_by = stamp(of_event)
        anew = tables.properties(self.spark, table.name).get(MADE_BY) != made_by
        if silver.snapshot is None or not (ends or anew):
            return 0
        rows = at(self.spark, source, silver)
        places = {**now.places, **{p: Place(end) for p, end in ends.items()}}
        kept = kept_from(self.spark, source)  # older days are not all there: what gold made of them stays
        if anew:
            days_kept = f"day >= DATE'{kept}'"
            commit.overwrite(gold_rows(rows, of_event).where(days_kept), table, days_kept, now, places)
            # After the rows: where it is not written, all is made once more.
            tables.set_property(self.spark, table, MADE_BY, made_by)
            self.say(f"{table.name}: all days anew")
            return 1
        new = rows.where(within({p: now.at(p).position for p in ends}, ends, "df_partition", "df_judged_offset"))
        days = [day for day in changed_days(new, of_event) if day >= kept]
        commit.overwrite(rows_of(rows, of_event, days), table, of_days(days), now, places)
        self.say(f"{table.name}: {len(days)} days anew")
        return 1


def changed_days(new: DataFrame, of_event: Plan) -> list[date]:
    """Of the windows that new rows are in, and that rows were in whose place they took."""
    replaced = new.select(F.explode(REPLACED.name).alias("df_time"))
    times = new.select("df_time").unionByName(replaced)
    return sorted(row["day"] for row in days_of(times, of_event).collect())


def rows_of(silver: DataFrame, of_event: Plan, days: Collection[date], beyond: Beyond | None = None) -> DataFrame:
    """All of gold that begins on these days. `beyond`: as `gold_rows` takes it."""
    events = on_days(silver, of_event, days) if days else silver.where("false")
    return gold_rows(events, of_event, beyond).where(of_days(days))


def of_days(days: Collection[date]) -> str:
    """SQL: the rows of gold that begin on these days."""
    named = ", ".join(f"DATE'{day}'" for day in days)
    return f"day IN ({named})" if days else "false"
