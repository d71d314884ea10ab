"""Bronze beside the ledger: which hours of which partition lack rows, and these rows once more from what landed."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.model import Contract, EventType
from dataforge.storage.chain import Chain

from lake import commit, objects, tables
from lake.gaps.compare import Gaps, Part, differing
from lake.jobs.bronze import parts_of, places_after
from lake.jobs.silver import at
from lake.landing import Bucket
from lake.ledger import Counted, Refold, accepted_end, accepting, counted, joined
from lake.position import Head, Place, head, within
from lake.schema import quoted
from lake.transforms.accept import accepted, folded, runs
from lake.transforms.bronze import bronze_rows
from lake.transforms.stamp import placed, stamped
from lake.when import DAY_MS, HOUR_MS, during, instant

Hour = tuple[int, int]
"""(partition, beginning of the hour in ms)."""
Ledger = Mapping[int, Sequence[Counted]]
"""Partition -> raw objects, consecutive."""


def bronze_gaps(spark: SparkSession, bucket: Bucket, event: EventType, since_ms: int) -> Gaps[Hour]:
    """Rows are compared of the raw offsets that the ledger knows: of records that are judged and not yet landed, it
    says nothing. *Raises* `Fatal`, `Transient`.
    """
    table = tables.bronze(event.contract)
    now = head(spark, table)
    ledger = asyncio.run(_ledger(bucket, event.contract, now, since_ms))
    due = {hour: Part(rows, rows) for hour, rows in due_hours(ledger).items() if hour[1] >= since_ms}
    rows = differing(due, _held(spark, table, now, ledger, since_ms))

    def fill(hours: Collection[Hour]) -> None:
        days = {(partition, ms - ms % DAY_MS) for partition, ms in hours}
        whole, lost = _during(days, DAY_MS), f"({_during(hours, HOUR_MS)}) AND ({_known(ledger)})"
        # Files are of a day: its other rows are written again as they are.
        filled = at(spark, table, now).where(whole).where(f"NOT ({lost})")
        for partition, refold in asyncio.run(_refolds(bucket, event.contract, ledger, hours)):
            filled = filled.unionByName(refolded(spark, bucket, event.contract, partition, refold).where(lost))
        commit.overwrite(filled, table, whole, now, None)

    return Gaps(rows, fill, lambda hour: f"{hour[0]}/{instant(hour[1])[10:23]}")


def due_hours(ledger: Ledger) -> Counter[Hour]:
    """How many records each hour has. Pure."""
    found: Counter[Hour] = Counter()
    for partition, landed in ledger.items():
        for one in landed:
            found.update({(partition, ms): records for ms, records in one.hours.items()})
    return found


def refolded(spark: SparkSession, bucket: Bucket, contract: Contract, partition: int, refold: Refold) -> DataFrame:
    """What bronze has of these objects. *Raises* `Fatal` where the fold comes to another end than it once did."""
    keys = [one.key for one in refold.landed]
    found = runs(folded(placed(objects.records(spark, bucket, keys, objects.STAMPS)), {partition: refold.following}))
    before = Head(None, {partition: Place(next=refold.following)})
    places_after(before, parts_of(refold.landed), found)
    return bronze_rows(stamped(placed(accepted(objects.records(spark, bucket, keys), found))), contract)


def _held(spark: SparkSession, table: tables.Table, now: Head, ledger: Ledger, since_ms: int) -> dict[Hour, Part]:
    ms = F.unix_millis("ts")
    hours = (
        at(spark, table, now)
        .where(f"ts >= {instant(since_ms)}")
        .where(_known(ledger))
        .groupBy("partition", (ms - ms % HOUR_MS).alias("ms"))
        # A row that is there twice must not stand for one that is not.
        .agg(F.count(F.lit(1)).alias("rows"), F.count_distinct("offset").alias("offsets"))
    )
    return {(row["partition"], row["ms"]): Part(row["rows"], row["offsets"]) for row in hours.collect()}


def _known(ledger: Ledger) -> str:
    """SQL: the rows of the raw offsets that were counted."""
    spans = {partition: (landed[0].first, landed[-1].next) for partition, landed in ledger.items() if landed}
    return within(
        {partition: first for partition, (first, _) in spans.items()},
        {partition: end for partition, (_, end) in spans.items()},
        quoted("partition"),
        quoted("offset"),
    )


def _during(parts: Iterable[tuple[int, int]], size_ms: int) -> str:
    """SQL: the rows of these hours, or days."""
    of: dict[int, list[tuple[int, int]]] = {}
    for partition, ms in parts:
        of.setdefault(partition, []).append((ms, ms + size_ms))
    return " OR ".join(
        f"({quoted('partition')} = {partition} AND {during('ts', start, end)})"
        for partition, spans in sorted(of.items())
        for start, end in joined(spans)
    )


async def _ledger(bucket: Bucket, contract: Contract, now: Head, since_ms: int) -> Ledger:
    store = bucket.store()
    await store.open()
    try:
        found: dict[int, Sequence[Counted]] = {}
        for partition in now.places:
            # Bronze may hold more than the judged chain, which it would be filled from.
            landed = await accepted_end(Chain(store, contract.judged_topic, partition))
            below = min(now.at(partition).next, landed)
            found[partition] = await counted(Chain(store, contract.raw_topic, partition), since_ms, below)
        return found
    finally:
        await store.close()


async def _refolds(
    bucket: Bucket, contract: Contract, ledger: Ledger, hours: Collection[Hour]
) -> list[tuple[int, Refold]]:
    store = bucket.store()
    await store.open()
    try:
        found: list[tuple[int, Refold]] = []
        for partition, landed in ledger.items():
            lost = [(one.first, one.next) for one in landed if any((partition, ms) in hours for ms in one.hours)]
            if lost:
                refolds = await accepting(Chain(store, contract.judged_topic, partition), lost)
                found += [(partition, refold) for refold in refolds]
        return found
    finally:
        await store.close()
