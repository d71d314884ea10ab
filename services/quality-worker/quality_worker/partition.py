"""One raw partition judged into one judged partition: one verdict per record, in order (DESIGN R4)."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from dataforge.contracts.model import Contract
from dataforge.contracts.reasons import Reason
from dataforge.runtime import metrics
from dataforge.runtime.tracing import BatchTrace, batch_trace
from dataforge.storage.chain import Chain
from dataforge.storage.objects import ObjectStore
from dataforge.stream.judged import (
    HEADER,
    REASON,
    TRACEPARENT,
    WARNINGS,
    fingerprint,
    pack,
)
from dataforge.stream.origin import NO_ID, Origin
from dataforge.stream.records import Record, RecordBatch, TopicPartition

from quality_worker.breaker import Breaker
from quality_worker.judge import VALID, Judge, Judgement
from quality_worker.log import Log, judged_so_far

DETAIL = "detail"
MAX_DETAIL_BYTES = 2_000

Produced = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
"""(key, value, headers)"""


class Sink(Protocol):
    async def send(self, topic: str, partition: int, records: Iterable[Produced]) -> int | None:
        """Append in order and wait until every record is safe. *Raises* `Fatal` where that is not certain; never
        `Transient`: who sends has moved on when it asks, and would not send the same again.
        """
        ...


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
        log: Log,
        store: ObjectStore,
        breaker: Breaker | None = None,
    ) -> None:
        self._tp, self._judge, self._sink, self._log, self._breaker = tp, judge, sink, log, breaker
        self._contract: Contract = judge.event.contract
        self._judged = TopicPartition(self._contract.judged_topic, tp.partition)
        self._chain = Chain(store, *self._judged)
        self._topic_id, self._origin = NO_ID, Origin()
        self._position = self._base = 0
        self._sending: asyncio.Task[int] | None = None

    @property
    def position(self) -> int:
        return self._position

    @property
    def origin(self) -> Origin:
        return self._origin

    async def open(self) -> int:
        """*Raises* `Fatal` where the verdicts that are there cannot all be known."""
        self._topic_id = (await self._log.bounds(self._tp)).topic_id
        judged = await judged_so_far(self._log, self._chain, self._judged)
        self._origin = judged.origin or Origin(self._topic_id)
        self._position = self._base = judged.next
        return self._position

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
        base, contract, topic_id = self._base, self._contract.fingerprint, self._topic_id
        for index, (record, judgement) in enumerate(zip(records, judgements, strict=True)):
            offset, key, value = record.offset, record.key, record.value
            stamp = pack(judgement.verdict, offset, base, record.timestamp, contract, fingerprint(value), topic_id)
            headers = [(HEADER, stamp)]
            if judgement is not VALID or index in traced.records:
                headers += self._more_headers(judgement, traced.traceparent(index))
                if judgement.reason == Reason.TOO_LARGE:  # raw holds it only because it was compressed better there
                    key = value = None
            verdicts.append((key, value, headers))
            base = offset + 1
        self._base = base
        self._count(judgements)
        return verdicts

    def _count(self, judgements: Sequence[Judgement]) -> None:
        others = Counter((one.verdict, one.reason) for one in judgements if one is not VALID)
        others[VALID.verdict, VALID.reason] += len(judgements) - others.total()
        for (verdict, reason), number in others.items():
            metrics.VERDICTS.labels(self._tp.topic, verdict.name.lower(), reason).inc(number)

    @staticmethod
    def _more_headers(judgement: Judgement, traceparent: bytes | None) -> list[tuple[str, bytes]]:
        headers: list[tuple[str, bytes]] = []
        if judgement.reason:
            headers.append((REASON, judgement.reason.encode()))
            headers.append((DETAIL, judgement.detail.encode()[:MAX_DETAIL_BYTES]))
        if judgement.warnings:
            headers.append((WARNINGS, ",".join(judgement.warnings).encode()))
        if traceparent or judgement.traceparent:
            headers.append((TRACEPARENT, traceparent or judgement.traceparent.encode()))
        return headers
