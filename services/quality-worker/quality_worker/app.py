"""Quality worker: raw.* -> judged.*; a second agent copies accepted rejections to quarantine.*.

Guarantees: every raw record gets exactly one accepted verdict, in order, its bytes unchanged; a record that is
not valid is also in quarantine, under its source's address. Too many rejections pause a topic before they are written.
"""

from collections.abc import Sequence

from dataforge.alerts import AlertSink
from dataforge.contracts.load import load_domains
from dataforge.contracts.model import EventType
from dataforge.storage.chain import Chain
from dataforge.storage.objects import ObjectStore
from dataforge.storage.s3 import S3Store
from dataforge.stream.app import StreamApp
from dataforge.stream.control import Control, ControlTopic
from dataforge.stream.producer import BatchProducer
from dataforge.stream.records import TopicPartition
from dataforge.stream.topics import JUDGED_MAX_BYTES
from dataforge.stream.work import Source

from quality_worker.breaker import Breakers
from quality_worker.judge import Judge
from quality_worker.log import Log, LogTail
from quality_worker.partition import JudgePartition, Sink, Start
from quality_worker.quarantine import QuarantinePartition
from quality_worker.settings import QualitySettings


def build(settings: QualitySettings) -> StreamApp:
    events = [event for domain in load_domains(settings.domain_folders) for event in domain.events]
    producer = BatchProducer(
        settings.kafka, max_record_bytes=JUDGED_MAX_BYTES, request_timeout_s=settings.request_timeout_s
    )
    log = LogTail(settings.kafka)
    store = S3Store(settings.s3_bucket, endpoint=settings.s3_endpoint, region=settings.s3_region)
    control_topic = ControlTopic(settings.kafka)
    control = Control(producer, control_topic.read_from)
    breakers = Breakers(settings.limits, control, AlertSink(producer)) if settings.limits else None
    sources = judge_and_quarantine(events, producer, log, store, breakers)
    return StreamApp(
        "quality-worker",
        settings,
        sources,
        remarks={"paused": breakers.remark} if breakers else {},
        startup=[
            store.open,
            producer.start,
            lambda: control_topic.open(control),
            lambda: log.learn_ids(sources[0].topics),
        ],
        shutdown=[control_topic.close, producer.stop, store.close],
    )


def judge_and_quarantine(
    events: Sequence[EventType], sink: Sink, log: Log, store: ObjectStore, breakers: Breakers | None = None
) -> list[Source]:
    """What this worker does, over any log and store. Without breakers nothing is ever paused."""
    judges = {event.contract.raw_topic: Judge(event) for event in events}
    contracts = {event.contract.judged_topic: event.contract for event in events}

    async def landed(tp: TopicPartition) -> Start:
        """Where the landed part of judged ends: all before it is known from the footer, without reading it."""
        end = await Chain(store, tp.topic, tp.partition).end()
        return Start(end.next, end.footer.accepted_next or 0) if end.footer else Start()

    def judge(tp: TopicPartition) -> JudgePartition:
        breaker = breakers.of(tp) if breakers else None
        topic_id = log.id_of(tp.topic)
        return JudgePartition(tp, judges[tp.topic], sink, log.read_from, log.last_record, landed, topic_id, breaker)

    def quarantine(tp: TopicPartition) -> QuarantinePartition:
        return QuarantinePartition(tp, contracts[tp.topic], sink, log.last_record)

    return [Source("judge", sorted(judges), judge), Source("quarantine", sorted(contracts), quarantine)]
