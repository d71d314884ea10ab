"""The jobs that keep a lake in order, over a small one; and what is in its tables and in its store."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aioboto3
from pyspark.sql import SparkSession

from dataforge.contracts.model import Domain

from lake import tables
from lake.app import wall_ms
from lake.jobs.backfill import Backfill
from lake.jobs.compact import Compact
from lake.jobs.drop import Drop
from lake.jobs.expire import Expire
from lake.jobs.orphans import Orphans
from lake.landing import Bucket
from lake.position import head, lineage
from lake.schema import REPLACED
from lake.settings import LakeSettings
from orders import PARTITIONS, Sent, judged, land_raw, parts
from worlds import ALL, World

ANY_AGE = {"spark.sql.legacy.setCommandRejectsSparkCoreConfs": "false", "spark.testing": "true"}


class Kept(World):
    """And the jobs that keep it in order."""

    def __init__(self, spark: SparkSession, settings: LakeSettings, domain: Domain, rows: int = ALL) -> None:
        super().__init__(spark, settings, domain, rows)
        self.bucket = Bucket.of(settings)
        self.told: list[tuple[str, int, int]] = []
        self.done = [0] * PARTITIONS

    def tell(self, what: str, done: int, of: int) -> None:
        self.told.append((what, done, of))

    def backfill(self, rows: int = ALL) -> dict[str, int]:
        return Backfill(self.spark, self.bucket, rows, None, self.said.append, self.tell).run(self.event)

    def compact(self) -> dict[str, int]:
        return Compact(self.spark, self.said.append, self.tell).run(self.event)

    def expire(
        self, keep_hours: float, now: Callable[[], int] = wall_ms, days: Mapping[str, int | None] | None = None
    ) -> dict[str, int]:
        drop = Drop(self.spark, days or {}, self.said.append)
        return Expire(self.spark, drop, keep_hours, now, self.said.append, self.tell).run(self.event)

    def orphans(self, age_hours: float) -> dict[str, int]:
        job = Orphans(
            self.spark, self.settings.warehouse, self.bucket.name, age_hours, wall_ms, self.said.append, self.tell
        )
        return job.run(self.event)

    def land_all(self, sent: Sequence[Sent], size: int = 40) -> None:
        """Raw and judged, what is not there yet of a log that begins as what is there."""
        logs, contract = parts(sent), self.event.contract
        self.land([judged(part) for part in logs], size, after=self.done)

        async def put() -> None:
            store = self.bucket.store()
            await store.open()
            try:
                for partition, part in enumerate(logs):
                    await land_raw(store, contract.raw_topic, partition, part, size, after=self.done[partition])
            finally:
                await store.close()

        asyncio.run(put())
        self.done = [len(part) for part in logs]

    def name(self, layer: str) -> str:
        return tables.of(self.event)[layer].name

    def ever(self) -> dict[str, list[int]]:
        """Layer -> its snapshots, the newest first."""
        return {layer: [one.id for one in lineage(self.spark, table)] for layer, table in tables.of(self.event).items()}

    def positions(self) -> list[object]:
        return [head(self.spark, table).places for table in tables.of(self.event).values()]

    def rows(self, layer: str, at: str = "") -> list[tuple[Any, ...]]:
        """In an order of their own; without what is no function of the layer below."""
        found = self.spark.sql(f"SELECT * FROM {self.name(layer)} {at}").drop(REPLACED.name).collect()
        return sorted((tuple(row) for row in found), key=repr)

    def all_rows(self) -> list[list[tuple[Any, ...]]]:
        return [self.rows(layer) for layer in tables.of(self.event)]

    def listed(self, prefix: str) -> dict[str, str]:
        """Key -> ETag of what is in the store."""

        async def look() -> dict[str, str]:
            client: Any = aioboto3.Session().client  # its types are those of a client that was never opened
            async with client("s3", endpoint_url=self.bucket.endpoint, region_name=self.bucket.region) as s3:
                pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket.name, Prefix=prefix)
                return {one["Key"]: one["ETag"] async for page in pages for one in page.get("Contents", ())}

        return asyncio.run(look())

    def landed(self) -> dict[str, str]:
        contract = self.event.contract
        return {
            key: tag
            for topic in (contract.raw_topic, contract.judged_topic)
            for key, tag in self.listed(f"landing/{topic}/").items()
        }

    def files(self, layer: str) -> dict[str, str]:
        return self.listed(f"lake/{self.event.contract.domain}/{layer}_order_v1/")


def grown(kept: Kept, sent: Sequence[Sent], times: int) -> None:
    """Landed and taken in so many portions: a small file of each in every day, a snapshot of each."""
    for n in range(1, times + 1):
        kept.land_all(sent[: len(sent) * n // times])
        kept.run()


def instant(at_ms: int) -> str:
    return time.strftime("TIMESTAMP'%Y-%m-%dT%H:%M:%SZ'", time.gmtime(at_ms / 1000))
