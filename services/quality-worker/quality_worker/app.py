"""Quality worker: raw.* -> judged.*; a second agent copies accepted rejections to quarantine.*.

Guarantees: every raw record gets exactly one accepted verdict, in order, its bytes unchanged; a record that is
not valid is also in quarantine, under its source's address.
"""

from collections.abc import Sequence

from dataforge.contracts.load import load_domains
from dataforge.contracts.model import EventType
from dataforge.storage.chain import Chain
from dataforge.storage.objects import ObjectStore
from dataforge.storage.s3 import S3Store
from dataforge.stream.app import StreamApp
from dataforge.stream.producer import BatchProducer
from dataforge.stream.records import TopicPartition
from dataforge.stream.topics import JUDGED_MAX_BYTES
from dataforge.stream.work import Source

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
    sources = judge_and_quarantine(events, producer, log, store)
    return StreamApp(
        "quality-worker",
        settings,
        sources,
        startup=[store.open, producer.start, lambda: log.learn_ids(sources[0].topics)],
        shutdown=[producer.stop, store.close],
    )


def judge_and_quarantine(events: Sequence[EventType], sink: Sink, log: Log, store: ObjectStore) -> list[Source]:
    """What this worker does, over any log and store."""
    judges = {event.contract.raw_topic: Judge(event) for event in events}
    contracts = {event.contract.judged_topic: event.contract for event in events}

    async def landed(tp: TopicPartition) -> Start:
        """Where the landed part of judged ends: all before it is known from the footer, without reading it."""
        end = await Chain(store, tp.topic, tp.partition).end()
        return Start(end.next, end.footer.accepted_next or 0) if end.footer else Start()

    def judge(tp: TopicPartition) -> JudgePartition:
        return JudgePartition(tp, judges[tp.topic], sink, log.read_from, log.last_record, landed, log.id_of(tp.topic))

    def quarantine(tp: TopicPartition) -> QuarantinePartition:
        return QuarantinePartition(tp, contracts[tp.topic], sink, log.last_record)

    return [Source("judge", sorted(judges), judge), Source("quarantine", sorted(contracts), quarantine)]
