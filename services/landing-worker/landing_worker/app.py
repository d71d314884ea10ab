"""Landing worker: raw.* and judged.* -> landing/<topic>/<partition>/<start>.parquet.

Guarantees: every record of every topic is in exactly one object, byte for byte; a partition's objects form a
chain without gap or overlap that anyone can walk.
"""

import time

from dataforge.contracts.load import load_domains
from dataforge.storage.s3 import S3Store
from dataforge.stream.app import StreamApp
from dataforge.stream.records import Record, TopicPartition
from dataforge.stream.topics import NO_ID, RangeReader, topic_ids
from dataforge.stream.work import Source

from landing_worker.land import Limits
from landing_worker.partition import LandingPartition
from landing_worker.settings import LandingSettings


def build(settings: LandingSettings) -> StreamApp:
    contracts = [event.contract for domain in load_domains(settings.domain_folders) for event in domain.events]
    raw, judged = sorted(c.raw_topic for c in contracts), sorted(c.judged_topic for c in contracts)
    store = S3Store(settings.s3_bucket, endpoint=settings.s3_endpoint, region=settings.s3_region)
    limits = Limits(settings.object_max_age_ms / 1000, settings.object_max_rows, settings.object_max_bytes)
    ids: dict[str, bytes] = {}

    async def learn_ids() -> None:
        ids.update(await topic_ids(settings.kafka, [*raw, *judged]))

    async def record_at(tp: TopicPartition, offset: int) -> Record | None:
        async with RangeReader(settings.kafka) as reader:
            begin, end = (await reader.begin_offsets([tp]))[tp], (await reader.end_offsets([tp]))[tp]
            if not begin <= offset < end:
                return None
            async for records in reader.read(tp, offset, offset + 1):
                return records[0]
        return None

    def open_partition(tp: TopicPartition) -> LandingPartition:
        topic_id, is_judged = ids.get(tp.topic, NO_ID), tp.topic in judged
        return LandingPartition(tp, store, time.monotonic, topic_id, limits, record_at, judged=is_judged)

    return StreamApp(
        "landing-worker",
        settings,
        [Source("land", [*raw, *judged], open_partition)],
        startup=[store.open, learn_ids],
        shutdown=[store.close],
    )
