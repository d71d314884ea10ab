"""The quarantine copy: accepted records that are not valid, for people to work with.

A reader of `judged` like any other: it applies the acceptance fold, and finds its place again in the
headers of the last record it wrote (docs/specs/log.md).
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from dataforge.contracts.model import Contract
from dataforge.errors import Fatal
from dataforge.runtime import metrics
from dataforge.stream.judged import VALID_TAG, Acceptance, stamps
from dataforge.stream.origin import NO_ID, Mark, Origin
from dataforge.stream.records import Record, RecordBatch, TopicPartition

from quality_worker.log import Log
from quality_worker.partition import Produced, Sink

ORIGIN = "origin"
JUDGED = "judged"
_PLACE = struct.Struct(">qq16sqqI")
_PLACE_ALONE = struct.Struct(">qq")
"""As written before the log was remembered too."""

MARK_RECORDS = 50_000
MARK_MS = 3_600_000
"""Of log time. Beyond one of the two without a copy, the place is written by itself: what a restart reads again."""


class Place(NamedTuple):
    """Where the writer stood: a judged offset, the acceptance fold's `next` there, and the log it read."""

    position: int = 0
    accepted_next: int = 0
    origin: Origin = Origin()

    def header(self) -> tuple[str, bytes]:
        topic_id, last = self.origin
        mark = (last.offset, last.timestamp, last.crc) if last else (-1, 0, 0)
        return JUDGED, _PLACE.pack(self.position, self.accepted_next, topic_id, *mark)


class QuarantinePartition:
    """A `PartitionWork` over one judged partition.

    *Guarantees*: every accepted record that is not valid is in the quarantine topic, in the same
    partition; after a crash some are there twice, under the same key: readers keep the first. A restart
    reads again what followed the last place, at most `MARK_RECORDS` or `MARK_MS` and a batch.
    """

    def __init__(self, tp: TopicPartition, contract: Contract, sink: Sink, log: Log) -> None:
        self._tp, self._contract, self._sink, self._log = tp, contract, sink, log
        self._acceptance = Acceptance()
        self._position = 0
        self._topic_id, self._origin = NO_ID, Origin()
        self._unmarked, self._unmarked_since_ms = 0, 0

    @property
    def position(self) -> int:
        return self._position

    @property
    def origin(self) -> Origin:
        return self._origin

    async def open(self) -> int:
        self._topic_id = (await self._log.bounds(self._tp)).topic_id
        last = await self._log.last_record(TopicPartition(self._contract.quarantine_topic, self._tp.partition))
        place = place_of(last) if last else Place()
        self._origin = place.origin if place.origin.last else Origin(self._topic_id)
        self._acceptance = Acceptance(place.accepted_next)
        self._position = place.position
        return self._position

    async def take(self, batch: RecordBatch) -> None:
        copies = self._copies(batch.records)
        marker = self._marker(batch, copied=bool(copies))
        if copies or marker:
            await self._sink.send(self._contract.quarantine_topic, self._tp.partition, copies + marker)
            metrics.QUARANTINED.labels(self._contract.quarantine_topic).inc(len(copies))
        self._position = batch.next

    async def tick(self) -> None:
        """Nothing is ever pending between batches."""

    async def close(self) -> None:
        """Nothing is ever pending between batches."""

    def _copies(self, records: Sequence[Record]) -> list[Produced]:
        said = stamps(records)
        accepted, _ = self._acceptance.accept(said)
        copies: list[Produced] = []
        for at in [at for at in accepted if said.tags[at] != VALID_TAG]:
            record, src = records[at], int(said.src[at])
            origin = f"{self._contract.raw_topic}/{self._tp.partition}/{src}".encode()
            place = self._place(record.offset + 1, src + 1, record)
            copies.append((origin, record.value, [*record.headers, (ORIGIN, origin), place.header()]))
        return copies

    def _marker(self, batch: RecordBatch, *, copied: bool) -> list[Produced]:
        """The place by itself, where much was read without a copy: no key and no value, so it is nobody's copy."""
        if copied:
            self._unmarked = 0
        elif batch.records:
            if not self._unmarked:
                self._unmarked_since_ms = batch.records[0].timestamp
            self._unmarked += len(batch.records)
            last = batch.records[-1]
            if self._unmarked >= MARK_RECORDS or last.timestamp >= self._unmarked_since_ms + MARK_MS:
                self._unmarked = 0
                return [(None, None, [self._place(batch.next, self._acceptance.next, last).header()])]
        return []

    def _place(self, position: int, accepted_next: int, last: Record) -> Place:
        return Place(position, accepted_next, Origin(self._topic_id, Mark.of(last)))


def place_of(record: Record) -> Place:
    """Where the writer of this record stood after it. *Raises* `Fatal` where it is none of quality-worker's."""
    for name, value in record.headers:
        if name == JUDGED and len(value) == _PLACE.size:
            position, accepted_next, topic_id, *mark = _PLACE.unpack(value)
            return Place(position, accepted_next, Origin(topic_id, Mark(*mark)))
        if name == JUDGED and len(value) == _PLACE_ALONE.size:
            return Place(*_PLACE_ALONE.unpack(value))
    raise Fatal(
        f"the last record of a quarantine topic (offset {record.offset}) has no 'judged' header: only quality-worker "
        "may write there; find the other producer, then recreate the topic"
    )
