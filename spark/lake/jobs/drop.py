"""Whole days of bronze and silver that are older than they must be kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.model import EventType
from dataforge.kpi.plan import plan

from lake import tables
from lake.conflict import again
from lake.jobs.silver import at
from lake.position import head, within
from lake.retention import keep_from
from lake.schema import quoted
from lake.when import DAY_MS, instant, midnight_ms


@dataclass(frozen=True, slots=True)
class Drop:
    """*Guarantees*: nothing goes that the next layer has not taken, nor what may still be live. Gold is never dropped,
    and its days from before silver begins stay as they are.

    "Now" is the newest append time in bronze, never a clock.
    """

    spark: SparkSession
    keep_days: Mapping[str, int | None]
    """Layer -> days to keep; None: for ever."""
    say: Callable[[str], None]

    def run(self, event: EventType) -> int:
        """Returns rows dropped. *Raises* `Fatal`."""
        source = tables.bronze(event.contract)
        if not tables.exists(self.spark, source):
            return 0
        newest = self.spark.table(source.name).agg(F.max(F.to_date("ts"))).collect()[0][0]
        dropped = 0
        for layer, days in self.keep_days.items():
            if days is not None and newest is not None:
                first = newest - timedelta(days=max(days, live_days(event)))
                dropped += again(partial(self._drop, event, layer, first), self.say)
        return dropped

    def _drop(self, event: EventType, layer: str, first: date) -> int:
        of = tables.of(event)
        table, time = of[layer], "ts" if layer == "bronze" else "df_time"
        if not tables.exists(self.spark, table):
            return 0
        now = head(self.spark, table)
        if now.snapshot is None:
            return 0
        older = f"{time} < {instant(midnight_ms(first))}"
        rows = at(self.spark, table, now).where(older)
        count = rows.count()
        if not count:
            return 0
        taken = self._taken(event, layer)
        if taken is not None and not rows.where(f"NOT ({taken})").isEmpty():
            self.say(f"{table.name}: days before {first} stay: the next layer has not taken all of them")
            return 0
        keep_from(self.spark, table, first)
        # What a writer has added since then stays until the next layer has that too.
        gone = older if taken is None else f"{older} AND ({taken})"
        self.spark.sql(f"DELETE FROM {table.name} WHERE {gone}")  # noqa: S608 - our own names
        self.say(f"{table.name}: {count:,} rows before {first}")
        return count

    def _taken(self, event: EventType, layer: str) -> str | None:
        """SQL: the rows that the next layer has; None where there is none."""
        of = tables.of(event)
        if layer == "bronze":
            following, place = of["silver"], (quoted("partition"), "judged_offset")
        elif plan(event).views:
            following, place = of["gold"], ("df_partition", "df_judged_offset")
        else:
            return None
        if not tables.exists(self.spark, following):
            return "false"
        ends = {partition: said.position for partition, said in head(self.spark, following).places.items()}
        return within({}, ends, *place)


def live_days(event: EventType) -> int:
    """So many days at least are needed to judge the live numbers by."""
    return -(-(event.ttl_ms + event.dedupe_ms + event.lateness_ms) // DAY_MS) + 1
