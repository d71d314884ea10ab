"""Landing worker: raw.* and judged.* -> landing/<topic>/<partition>/<start>.parquet.

Guarantees: every record of every topic is in exactly one object, byte for byte; a partition's objects form a
chain without gap or overlap that anyone can walk.
"""

import time
from collections.abc import Callable, Sequence

from dataforge.contracts.load import load_domains
from dataforge.contracts.model import EventType
from dataforge.storage.objects import ObjectStore
from dataforge.storage.s3 import S3Store
from dataforge.stream.app import StreamApp
from dataforge.stream.kafka_log import KafkaLog
from dataforge.stream.records import TopicPartition
from dataforge.stream.work import Log, Source

from landing_worker.land import Limits
from landing_worker.partition import LandingPartition
from landing_worker.settings import LandingSettings

REST_S = 0.1
"""Nobody waits for a record to be landed, and an object takes longer than this to fill."""


def build(settings: LandingSettings) -> StreamApp:
    events = [event for domain in load_domains(settings.domain_folders) for event in domain.events]
    store = S3Store(settings.s3_bucket, endpoint=settings.s3_endpoint, region=settings.s3_region)
    log = KafkaLog(settings.kafka)
    limits = Limits(settings.object_max_age_ms / 1000, settings.object_max_rows, settings.object_max_bytes)
    source = land(events, store, log, time.monotonic, limits)
    return StreamApp(
        "landing-worker",
        settings,
        [source],
        startup=[store.open, lambda: log.topic_ids(source.topics)],
        shutdown=[log.close, store.close],
        rest_s=REST_S,
    )


def land(
    events: Sequence[EventType], store: ObjectStore, log: Log, clock: Callable[[], float], limits: Limits
) -> Source:
    """What this worker does, over any store, log and clock."""
    judged = {event.contract.judged_topic for event in events}
    topics = sorted(judged | {event.contract.raw_topic for event in events})

    def open_partition(tp: TopicPartition) -> LandingPartition:
        return LandingPartition(tp, store, log, clock, limits, judged=tp.topic in judged)

    # No history: what this worker has not landed is in no chain.
    return Source("land", topics, open_partition, log)
