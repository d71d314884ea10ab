"""Quality worker: raw.* -> judged.*; a second agent copies accepted rejections to quarantine.*.

Guarantees: every raw record gets exactly one accepted verdict, in order, its bytes unchanged; a record that is
not valid is also in quarantine, under its source's address. Too many rejections pause a topic before they are written.
"""

from collections.abc import Sequence

from dataforge.contracts.load import load_domains
from dataforge.contracts.model import EventType
from dataforge.storage.history import LandedHistory
from dataforge.storage.objects import ObjectStore
from dataforge.storage.s3 import S3Store
from dataforge.stream.app import StreamApp
from dataforge.stream.control import Control, ControlTopic
from dataforge.stream.kafka_alerts import KafkaAlerts
from dataforge.stream.kafka_log import KafkaLog
from dataforge.stream.producer import BatchProducer
from dataforge.stream.records import JUDGED_MAX_BYTES, TopicPartition
from dataforge.stream.work import Source

from quality_worker.breaker import Breakers
from quality_worker.judge import Judge
from quality_worker.log import Log
from quality_worker.partition import JudgePartition, Sink
from quality_worker.quarantine import QuarantinePartition
from quality_worker.settings import QualitySettings


def build(settings: QualitySettings) -> StreamApp:
    events = [event for domain in load_domains(settings.domain_folders) for event in domain.events]
    producer = BatchProducer(
        settings.kafka, max_record_bytes=JUDGED_MAX_BYTES, request_timeout_s=settings.request_timeout_s
    )
    log = KafkaLog(settings.kafka)
    store = S3Store(settings.s3_bucket, endpoint=settings.s3_endpoint, region=settings.s3_region)
    control_topic = ControlTopic(settings.kafka)
    control = Control(producer, control_topic.read_from)
    alerts = KafkaAlerts(settings.kafka)
    breakers = Breakers(settings.limits, control, alerts) if settings.limits else None
    sources = judge_and_quarantine(events, producer, log, store, breakers)
    contracts = [event.contract for event in events]
    topics = [topic for c in contracts for topic in (c.raw_topic, c.judged_topic, c.quarantine_topic)]
    return StreamApp(
        "quality-worker",
        settings,
        sources,
        remarks={"paused": breakers.remark} if breakers else {},
        startup=[
            store.open,
            producer.start,
            lambda: control_topic.open(control),
            lambda: log.topic_ids(topics),
        ],
        shutdown=[control_topic.close, alerts.close, producer.stop, log.close, store.close],
    )


def judge_and_quarantine(
    events: Sequence[EventType], sink: Sink, log: Log, store: ObjectStore, breakers: Breakers | None = None
) -> list[Source]:
    """What this worker does, over any log and store. Without breakers nothing is ever paused."""
    judges = {event.contract.raw_topic: Judge(event) for event in events}
    contracts = {event.contract.judged_topic: event.contract for event in events}

    def judge(tp: TopicPartition) -> JudgePartition:
        breaker = breakers.of(tp) if breakers else None
        return JudgePartition(tp, judges[tp.topic], sink, log, store, breaker)

    def quarantine(tp: TopicPartition) -> QuarantinePartition:
        return QuarantinePartition(tp, contracts[tp.topic], sink, log)

    history = LandedHistory(store)
    return [
        Source("judge", sorted(judges), judge, log, history),
        Source("quarantine", sorted(contracts), quarantine, log, history),
    ]
