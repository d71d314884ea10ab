"""One raw partition judged into one judged partition: one verdict per record, in order (DESIGN R4)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from dataforge.contracts.model import Contract
from dataforge.errors import Fatal
from dataforge.runtime import metrics
from dataforge.runtime.tracing import BatchTrace, batch_trace
from dataforge.stream.judged import (
    HEADER,
    REASON,
    TRACEPARENT,
    WARNINGS,
    Acceptance,
    Stamp,
    fingerprint,
    unpack,
)
from dataforge.stream.records import Record, RecordBatch, TopicPartition

from quality_worker.breaker import Breaker
from quality_worker.judge import Judge, Judgement

DETAIL = "detail"
NO_ID = bytes(16)
"""A log without topic ids."""
MAX_DETAIL_BYTES = 2_000

Produced = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
"""(key, value, headers)"""


class Sink(Protocol):
    async def send(self, topic: str, partition: int, records: Iterable[Produced]) -> int | None:
        """Append in order and wait until every record is safe. *Raises* `Fatal` where that is not certain."""
        ...


ReadFrom = Callable[[TopicPartition, int], AsyncIterator[Sequence[Record]]]
"""(partition, offset) -> its records from there to the end it has now."""


class Start(NamedTuple):
    """Where a reader of judged may begin: a judged offset, and the acceptance fold's `next` there."""

    position: int = 0
    accepted_next: int = 0


LandedStart = Callable[[TopicPartition], Awaitable[Start]]
LastRecord = Callable[[TopicPartition], Awaitable[Record | None]]


class JudgePartition:
    """A `PartitionWork` over one raw partition.

    *Guarantees*: it keeps no offset of its own: it starts where the verdicts already in `judged` end, so a
    crash repeats at most what readers drop. One produce is in flight; a failed one ends the process.
    """

    def __init__(
        self,
        tp: TopicPartition,
        judge: Judge,
        sink: Sink,
        read_from: ReadFrom,
        last_record: LastRecord,
        landed: LandedStart,
        topic_id: bytes,
        breaker: Breaker | None = None,
    ) -> None:
        self._tp, self._judge, self._sink, self._breaker = tp, judge, sink, breaker
        self._contract: Contract = judge.event.contract
        self._judged = TopicPartition(self._contract.judged_topic, tp.partition)
        self._read_from, self._last_record, self._landed = read_from, last_record, landed
        self._topic_id = topic_id
        self._position = self._base = 0
        self._sending: asyncio.Task[int] | None = None

    @property
    def position(self) -> int:
        return self._position

    async def open(self) -> int:
        """*Raises* `Fatal` where the raw log is not the one whose verdicts `judged` holds (DESIGN R6b)."""
        last = await self._last_record(self._judged)
        if last is not None:
            self._check_same_log(unpack(last.headers).topic_id)
        start = await self._landed(self._judged)
        acceptance = Acceptance(start.accepted_next)
        async for records in self._read_from(self._judged, start.position):
            for _ in acceptance.accepted(records):
                pass
        self._position = self._base = acceptance.next
        return self._position

    def _check_same_log(self, judged_id: bytes) -> None:
        if judged_id != self._topic_id and NO_ID not in (judged_id, self._topic_id):
            raise Fatal(
                f"{self._tp.topic} was recreated: its id is {self._topic_id.hex()}, and {self._judged.topic} holds "
                f"verdicts on {judged_id.hex()}: going on at their end would skip records of the new log. Restore the "
                "topic; or, if it was replaced on purpose, give the event a new version"
            )

    async def take(self, batch: RecordBatch) -> None:
        """Judge while the batch before is on its way, then wait for that one: one produce in flight.

        *Raises* `Held` while the topic is paused, or where this batch is why it is to be; nothing has changed then.
        """
        if self._breaker and self._breaker.pause:
            await self._settled()
            await self._breaker.hold()
        with batch_trace("judge", *self._tp, batch.records) as traced:
            judgements = [self._judge.judge(record) for record in batch.records]
            if self._breaker:
                await self._breaker.admit(batch.records, judgements)
            verdicts = self._verdicts(batch.records, judgements, traced)
        await self._settled()
        self._sending = asyncio.create_task(self._send(verdicts, batch.next))

    async def tick(self) -> None:
        if self._sending and self._sending.done():
            await self._settled()

    async def close(self) -> None:
        await self._settled()

    async def _send(self, verdicts: list[Produced], position: int) -> int:
        if verdicts:
            await self._sink.send(self._judged.topic, self._judged.partition, verdicts)
        return position

    async def _settled(self) -> None:
        if self._sending:
            sending, self._sending = self._sending, None
            self._position = await sending

    def _verdicts(
        self, records: Sequence[Record], judgements: Sequence[Judgement], traced: BatchTrace
    ) -> list[Produced]:
        verdicts: list[Produced] = []
        counts: Counter[tuple[str, str]] = Counter()
        for index, (record, judgement) in enumerate(zip(records, judgements, strict=True)):
            counts[judgement.verdict.name.lower(), judgement.reason] += 1
            headers = self._headers(record, judgement, traced.traceparent(index))
            verdicts.append((record.key, record.value, headers))
            self._base = record.offset + 1
        for (verdict, reason), number in counts.items():
            metrics.VERDICTS.labels(self._tp.topic, verdict, reason).inc(number)
        return verdicts

    def _headers(self, record: Record, judgement: Judgement, traceparent: bytes | None) -> list[tuple[str, bytes]]:
        stamp = Stamp(
            judgement.verdict,
            record.offset,
            self._base,
            record.timestamp,
            self._contract.fingerprint,
            fingerprint(record.value),
            self._topic_id,
        )
        headers = [(HEADER, stamp.pack())]
        if judgement.reason:
            headers.append((REASON, judgement.reason.encode()))
            headers.append((DETAIL, judgement.detail.encode()[:MAX_DETAIL_BYTES]))
        if judgement.warnings:
            headers.append((WARNINGS, ",".join(judgement.warnings).encode()))
        if traceparent or judgement.traceparent:
            headers.append((TRACEPARENT, traceparent or judgement.traceparent.encode()))
        return headers
