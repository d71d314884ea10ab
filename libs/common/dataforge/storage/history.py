"""Landing chains as the older half of the logs they were landed from (DESIGN R5)."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass

from dataforge.storage.chain import Chain
from dataforge.storage.objects import ObjectStore
from dataforge.stream.records import LogRecord, RecordBatch, TopicPartition
from dataforge.stream.work import Landed

BATCH_RECORDS = 2_000
"""As many as a poll brings at most: work must not tell a chain from a log."""


@dataclass(frozen=True, slots=True)
class LandedHistory:
    """A `History` of every landed topic, in one store."""

    store: ObjectStore

    async def read(self, tp: TopicPartition, offset: int) -> AsyncGenerator[Landed, None]:
        async for footer, records in Chain(self.store, *tp).read(offset):
            topic_id = bytes.fromhex(footer.topic_id)
            for batch in _batches(tp, max(footer.start, offset), footer.next, records):
                yield Landed(topic_id, batch)


def _batches(tp: TopicPartition, start: int, end: int, records: Sequence[LogRecord]) -> Iterator[RecordBatch]:
    """The records as batches that cover the offsets from `start` to `end`; one without records where there are none."""
    for at in range(0, max(len(records), 1), BATCH_RECORDS):
        some = records[at : at + BATCH_RECORDS]
        following = some[-1].offset + 1 if at + BATCH_RECORDS < len(records) else end
        yield RecordBatch(*tp, start, following, some)
        start = following
