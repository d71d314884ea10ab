"""Quality worker: raw.* -> judged.*; a second agent copies accepted rejections to quarantine.*.

Guarantees: every raw record gets exactly one accepted verdict, in order, its bytes unchanged; a record that is
not valid is also in quarantine, under its source's address.
"""

from dataforge.contracts.load import load_domains
from dataforge.storage.chain import Chain
from dataforge.storage.s3 import S3Store
from dataforge.stream.app import StreamApp
from dataforge.stream.producer import BatchProducer
from dataforge.stream.records import TopicPartition
from dataforge.stream.topics import JUDGED_MAX_BYTES
from dataforge.stream.work import Source

from quality_worker.judge import Judge
from quality_worker.log import LogTail
from quality_worker.partition import JudgePartition, Start
from quality_worker.quarantine import QuarantinePartition
from quality_worker.settings import QualitySettings


def build(settings: QualitySettings) -> StreamApp:
    events = [event for domain in load_domains(settings.domain_folders) for event in domain.events]
    judges = {event.contract.raw_topic: Judge(event) for event in events}
    contracts = {event.contract.judged_topic: event.contract for event in events}
    producer = BatchProducer(
        settings.kafka, max_record_bytes=JUDGED_MAX_BYTES, request_timeout_s=settings.request_timeout_s
    )
    tail = LogTail(settings.kafka)
    store = S3Store(settings.s3_bucket, endpoint=settings.s3_endpoint, region=settings.s3_region)

    async def landed(tp: TopicPartition) -> Start:
        """Where the landed part of judged ends: all before it is known from the footer, without reading it."""
        end = await Chain(store, tp.topic, tp.partition).end()
        return Start(end.next, end.footer.accepted_next or 0) if end.footer else Start()

    def judge(tp: TopicPartition) -> JudgePartition:
        return JudgePartition(
            tp, judges[tp.topic], producer, tail.read_from, tail.last_record, landed, tail.id_of(tp.topic)
        )

    def quarantine(tp: TopicPartition) -> QuarantinePartition:
        return QuarantinePartition(tp, contracts[tp.topic], producer, tail.last_record)

    return StreamApp(
        "quality-worker",
        settings,
        [Source("judge", sorted(judges), judge), Source("quarantine", sorted(contracts), quarantine)],
        startup=[store.open, producer.start, lambda: tail.learn_ids(sorted(judges))],
        shutdown=[producer.stop, store.close],
    )
