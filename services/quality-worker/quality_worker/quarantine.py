"""The quarantine copy: accepted records that are not valid, for people to work with.

A reader of `judged` like any other: it applies the acceptance fold, and finds its place again in the
headers of the last record it wrote (docs/specs/log.md).
"""

import struct
from collections.abc import Sequence

from dataforge.contracts.model import Contract
from dataforge.errors import Fatal
from dataforge.runtime import metrics
from dataforge.stream.judged import Acceptance, Verdict, unpack
from dataforge.stream.records import Record, RecordBatch, TopicPartition

from quality_worker.partition import LastRecord, Produced, Sink, Start

ORIGIN = "origin"
JUDGED = "judged"
_PLACE = struct.Struct(">qq")


class QuarantinePartition:
    """A `PartitionWork` over one judged partition.

    *Guarantees*: every accepted record that is not valid is in the quarantine topic, in the same
    partition; after a crash some are there twice, under the same key: readers keep the first.
    """

    def __init__(self, tp: TopicPartition, contract: Contract, sink: Sink, last_record: LastRecord) -> None:
        self._tp, self._contract, self._sink, self._last_record = tp, contract, sink, last_record
        self._acceptance = Acceptance()
        self._position = 0

    @property
    def position(self) -> int:
        return self._position

    async def open(self) -> int:
        last = await self._last_record(TopicPartition(self._contract.quarantine_topic, self._tp.partition))
        start = place_of(last) if last else Start()
        self._acceptance = Acceptance(start.accepted_next)
        self._position = start.position
        return self._position

    async def take(self, batch: RecordBatch) -> None:
        copies = self._copies(batch.records)
        if copies:
            await self._sink.send(self._contract.quarantine_topic, self._tp.partition, copies)
            metrics.QUARANTINED.labels(self._contract.quarantine_topic).inc(len(copies))
        self._position = batch.next

    async def tick(self) -> None:
        """Nothing is ever pending between batches."""

    async def close(self) -> None:
        """Nothing is ever pending between batches."""

    def _copies(self, records: Sequence[Record]) -> list[Produced]:
        copies: list[Produced] = []
        for record in records:
            stamp = unpack(record.headers)
            if not self._acceptance.accepts(stamp) or stamp.verdict is Verdict.VALID:
                continue
            origin = f"{self._contract.raw_topic}/{self._tp.partition}/{stamp.src}".encode()
            place = _PLACE.pack(record.offset + 1, self._acceptance.next)
            copies.append((origin, record.value, [*record.headers, (ORIGIN, origin), (JUDGED, place)]))
        return copies


def place_of(copy: Record) -> Start:
    """Where the writer of this copy stood after it. *Raises* `Fatal` where the record is not a copy."""
    for name, value in copy.headers:
        if name == JUDGED and len(value) == _PLACE.size:
            return Start(*_PLACE.unpack(value))
    raise Fatal(
        f"the last record of a quarantine topic (offset {copy.offset}) has no 'judged' header: only quality-worker may "
        "write there; find the other producer, then recreate the topic"
    )
