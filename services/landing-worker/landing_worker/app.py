"""Landing worker: raw.* and judged.* -> landing/<topic>/<partition>/<start>.parquet.

Guarantees: every record of every topic is in exactly one object, byte for byte; a partition's objects form a
chain without gap or overlap that anyone can walk.
"""

import time

from dataforge.contracts.load import load_domains
from dataforge.storage.s3 import S3Store
from dataforge.stream.app import StreamApp
from dataforge.stream.records import TopicPartition
from dataforge.stream.work import Source

from landing_worker.land import Limits, Origin
from landing_worker.log import SourceLog
from landing_worker.partition import LandingPartition
from landing_worker.settings import LandingSettings


def build(settings: LandingSettings) -> StreamApp:
    contracts = [event.contract for domain in load_domains(settings.domain_folders) for event in domain.events]
    judged = {contract.judged_topic for contract in contracts}
    topics = sorted(judged | {contract.raw_topic for contract in contracts})
    store = S3Store(settings.s3_bucket, endpoint=settings.s3_endpoint, region=settings.s3_region)
    log = SourceLog(settings.kafka)
    limits = Limits(settings.object_max_age_ms / 1000, settings.object_max_rows, settings.object_max_bytes)

    def open_partition(tp: TopicPartition) -> LandingPartition:
        origin = Origin(*tp, log.id_of(tp.topic).hex(), tp.topic in judged)
        return LandingPartition(origin, store, log.look, time.monotonic, limits)

    return StreamApp(
        "landing-worker",
        settings,
        [Source("land", topics, open_partition)],
        startup=[store.open, lambda: log.learn_ids(topics)],
        shutdown=[store.close],
    )
