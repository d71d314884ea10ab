"""Aggregator: judged.* -> KPI windows, ledger and update feed in Redis; corrections.v1 -> an overlay over them.

Guarantees: every accepted valid record is counted, a duplicate, or late, once; of the corrections of a row the one of
the highest revision holds; what a reader sees and the position behind it moved together.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

from dataforge.contracts.load import load_domains
from dataforge.contracts.model import Domain
from dataforge.corrections import TOPIC
from dataforge.errors import Transient
from dataforge.state.redis import RedisState
from dataforge.state.store import StateWriter
from dataforge.storage.history import LandedHistory
from dataforge.storage.later import LaterStore, OpenedStore
from dataforge.storage.objects import ObjectStore
from dataforge.stream.app import StreamApp
from dataforge.stream.kafka_log import KafkaLog
from dataforge.stream.records import TopicPartition
from dataforge.stream.work import Log, Source

from aggregator.compile import Compiled, compile_event
from aggregator.correct import known_of
from aggregator.overlay import OverlayPartition
from aggregator.partition import AggregatorPartition, Pace, wall_ms
from aggregator.settings import AggregatorSettings


def build(settings: AggregatorSettings) -> StreamApp:
    domains = load_domains(settings.domain_folders)
    state = RedisState(settings.redis_url, feed_cap=settings.feed_cap, feed_bytes=settings.feed_bytes)
    pace = Pace(settings.commit_interval_ms / 1000, settings.commit_max_rows, settings.idle_after_ms / 1000)
    log = KafkaLog(settings.kafka)
    store = LaterStore(partial(_store, settings))  # for a partition whose log no longer holds what it needs
    source = aggregate(domains, state, log, store, time.monotonic, pace)
    return StreamApp(
        "aggregator",
        settings,
        [source, correct(domains, state, log, time.monotonic)],
        checks={"state": partial(_reachable, state)},
        # The topic of corrections may be missing: then there are none, and counting goes on.
        startup=[state.ping, lambda: log.topic_ids(source.topics)],
        shutdown=[log.close, store.close, state.close],
        rest_s=pace.interval_s / 2,  # what comes between two commits may come in two pieces
    )


def aggregate(
    domains: Sequence[Domain],
    state: StateWriter,
    log: Log,
    store: ObjectStore,
    clock: Callable[[], float],
    pace: Pace,
    now_ms: Callable[[], int] = wall_ms,
) -> Source:
    """What this worker does, over any state store, log, object store and clocks."""
    compiled = compile_domains(domains)

    def open_partition(tp: TopicPartition) -> AggregatorPartition:
        return AggregatorPartition(tp, compiled[tp.topic], state, clock, pace, now_ms, log)

    return Source("judged", sorted(compiled), open_partition, log, LandedHistory(store))


def correct(
    domains: Sequence[Domain],
    state: StateWriter,
    log: Log,
    clock: Callable[[], float],
    now_ms: Callable[[], int] = wall_ms,
) -> Source:
    """The other thing this worker does. It compares its position with the log itself: see `OverlayPartition`."""
    known = known_of(domains)

    def open_partition(tp: TopicPartition) -> OverlayPartition:
        return OverlayPartition(tp, known, state, log, clock, now_ms)

    return Source("corrections", [TOPIC], open_partition)


def compile_domains(domains: Sequence[Domain]) -> dict[str, Compiled]:
    """Judged topic -> its event type, ready to be folded."""
    return {
        event.contract.judged_topic: compile_event(event, domain.fingerprint, domain.partitions)
        for domain in domains
        for event in domain.events
    }


async def _store(settings: AggregatorSettings) -> OpenedStore:
    from dataforge.storage.s3 import S3Store  # imported late: see `LaterStore`

    store = S3Store(settings.s3_bucket, endpoint=settings.s3_endpoint, region=settings.s3_region)
    await store.open()
    return store


async def _reachable(state: RedisState) -> str | None:
    try:
        await state.ping()
    except Transient as error:
        return str(error)
    return None
