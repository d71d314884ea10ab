"""A small lake: its jobs over one event, what is landed for them, and what must be in its tables then."""

import asyncio
from collections.abc import Sequence

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.model import Domain, EventType
from dataforge.state.redis import RedisState
from dataforge.stream.records import LogRecord, RecordBatch, TopicPartition

from aggregator.compile import compile_event
from aggregator.partition import AggregatorPartition, Pace
from lake import tables
from lake.jobs.bronze import Bronze
from lake.jobs.gold import Gold
from lake.jobs.silver import Silver
from lake.landing import Bucket
from lake.position import head
from lake.settings import LakeSettings
from oracle import SMALL as METRICS
from oracle import database, exact_windows
from orders import PARTITIONS, TOPIC_ID, Sent, land

ALL = 10**6


class World:
    """The jobs over one event."""

    def __init__(self, spark: SparkSession, settings: LakeSettings, domain: Domain, rows: int = ALL) -> None:
        self.spark, self.settings, self.event = spark, settings, domain.events[0]
        self.said: list[str] = []
        self.bronze = Bronze(spark, Bucket.of(settings), rows, self.said.append)
        self.silver = Silver(spark, rows, self.said.append)
        self.gold = Gold(spark, self.said.append)

    def run(self) -> tuple[int, int, int]:
        """Commits of each layer."""
        return self.bronze.run(self.event, PARTITIONS), self.silver.run(self.event), self.gold.run(self.event)

    def land(
        self,
        logs: Sequence[Sequence[LogRecord]],
        size: int,
        after: Sequence[int] = (0,) * PARTITIONS,
        topic_id: str = TOPIC_ID,
    ) -> None:
        async def put() -> None:
            store = Bucket.of(self.settings).store()
            await store.open()
            try:
                for partition, log in enumerate(logs):
                    topic = self.event.contract.judged_topic
                    await land(store, topic, partition, log, size, after=after[partition], topic_id=topic_id)
            finally:
                await store.close()

        asyncio.run(put())

    def snapshots(self) -> list[int | None]:
        return [head(self.spark, table).snapshot for table in tables.of(self.event).values()]


def bronze_rows(spark: SparkSession, event: EventType) -> list[tuple[object, ...]]:
    rows = spark.table(tables.bronze(event.contract).name)
    shown = rows.select("partition", "offset", F.unix_millis("ts"), "value", "verdict", "reason", "detail", "warnings")
    return sorted((*row[:3], bytes(row[3] or b""), *row[4:7], tuple(row[7])) for row in shown.collect())


def bronze_expected(sent: Sequence[Sent]) -> list[tuple[object, ...]]:
    reasons = {0: None, 1: "too_dear", 2: "not_json"}
    return sorted(
        (
            one.partition, one.offset, one.ts_ms, one.value, one.verdict.name.lower(), reasons[one.verdict],
            "no JSON: ü" if one.verdict == 2 else None,
            ("free_item", "unknown_product") if one.valid and one.offset % 3 == 0 else (),
        )
        for one in sent
    )  # fmt: skip


def silver_ids(spark: SparkSession, event: EventType) -> dict[str, tuple[int, int]]:
    rows = spark.table(tables.silver(event).name).select("df_id", "df_partition", "df_offset").collect()
    assert len({row["df_id"] for row in rows}) == len(rows), "an event twice"
    return {row["df_id"]: (row["df_partition"], row["df_offset"]) for row in rows}


def demand(world: World, sent: Sequence[Sent]) -> None:
    """All three layers hold what was sent, and nothing else."""
    assert bronze_rows(world.spark, world.event) == bronze_expected(sent)
    db = database(sent)
    ids = {id_: (p, at) for id_, p, at in db.execute('SELECT "order", partition, "offset" FROM silver').fetchall()}
    assert silver_ids(world.spark, world.event) == ids
    rows = world.spark.table(tables.gold(world.event.contract).name)
    shown = rows.withColumn("start_ms", F.unix_millis("start")).drop("start").collect()
    found = {(r["metric"], tuple(r["by"]), r["window"], r["start_ms"], tuple(r["labels"])): r for r in shown}
    assert len(found) == len(shown), "a window twice"
    expected = exact_windows(db, METRICS)
    assert {k: (r["top"], r["bottom"]) for k, r in found.items() if k in expected} == expected
    compared = {key[:3] for key in expected}
    assert {key for key in found if key[:3] in compared} == set(expected)


async def count_live(
    redis_url: str, domain: Domain, logs: Sequence[Sequence[LogRecord]], after: Sequence[int] = (0,) * PARTITIONS
) -> None:
    """The live numbers of these logs, by the aggregator itself, which has counted them up to `after`."""
    compiled = compile_event(domain.events[0], domain.fingerprint, domain.partitions)
    state = RedisState(redis_url)
    for partition, log in enumerate(logs):
        tp = TopicPartition(domain.events[0].contract.judged_topic, partition)
        worker = AggregatorPartition(tp, compiled, state, lambda: 0.0, Pace(0.0))
        assert await worker.open() == after[partition]
        await worker.take(RecordBatch(*tp, after[partition], len(log), log[after[partition] :]))
        await worker.close()
    await state.close()
