"""Reads of the log outside of any group: ranges of a partition, its last record, where it begins and ends."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnsupportedVersionError,
    for_code,
)
from aiokafka.structs import TopicPartition as KafkaTopicPartition

from dataforge.errors import Fatal, Transient
from dataforge.runtime.watchdog import progress
from dataforge.stream.connection import AWAY, survive_resets
from dataforge.stream.metadata import TopicIdsRequest
from dataforge.stream.records import JUDGED_MAX_BYTES, TopicPartition

survive_resets()

_STOP_S = 2
_ANSWER_MS = 10_000
"""Well below the stall limit, which a call with a few questions must not reach because Kafka is away."""
_REFUSED = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError, UnsupportedVersionError)
_STANDSTILL_S = 30
"""A reading that brings nothing for this long, though there is more, is given up."""


class RangeReader:
    """Reads ranges of partitions, outside of any group: to fold a topic's tail, to find its last record.

    One reader reads one thing at a time. Use it as an async context manager.
    """

    def __init__(self, bootstrap: str, *, max_records: int = 2000) -> None:
        self._bootstrap, self._max_records = bootstrap, max_records
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> "RangeReader":
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id=f"range-reader-{uuid4().hex[:8]}",
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            request_timeout_ms=_ANSWER_MS,
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=JUDGED_MAX_BYTES,
        )
        try:
            await consumer.start()
        except BaseException as error:
            await _stop(consumer)
            if isinstance(error, AWAY):
                raise Transient(f"Kafka at {self._bootstrap} does not answer: {error}") from error
            raise
        self._consumer = consumer
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._consumer is not None:
            await _stop(self._consumer)

    @property
    def _kafka(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise Fatal("a RangeReader is used outside of its `async with`")
        return self._consumer

    async def topic_ids(self, names: Sequence[str]) -> dict[str, bytes]:
        """Kafka's id of each topic. *Raises* `Fatal` where one does not exist."""
        if not names:
            return {}
        client: Any = self._kafka._client
        response = await _or_transient(client.send(client.get_random_node(), TopicIdsRequest(names)))
        ids: dict[str, bytes] = {}
        for code, name, topic_id, *_ in response.topics:
            if code:
                raise Fatal(
                    f"topic {name}: {for_code(code).__name__}. Create it with `dataforge up`, or check its name"
                )
            ids[name] = topic_id
        return ids

    async def end_offsets(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        ends = await _or_transient(self._kafka.end_offsets([KafkaTopicPartition(*tp) for tp in tps]))
        return {TopicPartition(*tp): end for tp, end in ends.items()}

    async def begin_offsets(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where each partition's log begins: what retention has left."""
        begins = await _or_transient(self._kafka.beginning_offsets([KafkaTopicPartition(*tp) for tp in tps]))
        return {TopicPartition(*tp): begin for tp, begin in begins.items()}

    async def offset_at(self, tp: TopicPartition, at_ms: int) -> int:
        """The first offset appended at this time or later; the log's end where there is none yet."""
        kafka_tp = KafkaTopicPartition(*tp)
        found = (await _or_transient(self._kafka.offsets_for_times({kafka_tp: at_ms})))[kafka_tp]
        return found.offset if found is not None else (await self.end_offsets([tp]))[tp]

    async def read(self, tp: TopicPartition, start: int, end: int) -> AsyncIterator[list[ConsumerRecord]]:
        """The records with start <= offset < end, in order, in lists.

        `end` must not lie beyond the log's end. Returns once the position has reached it, so a log that is
        sparse at its end is no trap. *Raises* `Fatal` where `start` is outside of the log, `Transient`.
        """
        if start >= end:
            return
        kafka, partition, now_s = self._kafka, KafkaTopicPartition(*tp), asyncio.get_running_loop().time
        kafka.assign([partition])
        kafka.seek(partition, start)
        position, moved_s = start, now_s()
        while position < end:
            try:
                fetched = await kafka.getmany(partition, timeout_ms=200, max_records=self._max_records)
            except OffsetOutOfRangeError as error:
                raise Fatal(f"offset {start} of {tp.topic}/{tp.partition} is outside of its log") from error
            except AWAY as error:
                raise Transient(f"Kafka did not answer: {error!r}") from error
            records = [record for record in fetched.get(partition, ()) if record.offset < end]
            if records:
                yield records
            before, position = position, await _or_transient(kafka.position(partition))
            if position > before:
                moved_s = now_s()
                progress()  # a log may be long: who reads all of it does not hang
            elif now_s() > moved_s + _STANDSTILL_S:
                raise Transient(f"Kafka brings nothing of {tp.topic}/{tp.partition} from {position} on")
        # A reader that is kept for the next question would go on fetching beyond the end, twenty times a second.
        kafka.pause(partition)

    async def last_record(self, tp: TopicPartition) -> ConsumerRecord | None:
        """The last record of the log; None where there is none (empty, or all of it beyond retention)."""
        end = (await self.end_offsets([tp]))[tp]
        begin = (await self.begin_offsets([tp]))[tp]
        span = 1
        while begin < end:
            # The last offsets may hold no record (transaction markers, compaction): look further back.
            start = max(begin, end - span)
            last: ConsumerRecord | None = None
            async for records in self.read(tp, start, end):
                last = records[-1]
            if last is not None or start == begin:
                return last
            span *= 16
        return None


async def _stop(consumer: AIOKafkaConsumer) -> None:
    # aiokafka's tasks may swallow a cancellation, and then never end: so the wait has an end of its own.
    await asyncio.wait([asyncio.ensure_future(consumer.stop())], timeout=_STOP_S)


async def _or_transient(asked: Any) -> Any:
    try:
        return await asked
    except _REFUSED as error:
        raise Fatal(f"Kafka refused: {error!r}. Waiting will not mend it: look at its ACLs and its version") from error
    except AWAY as error:
        raise Transient(f"Kafka did not answer: {error!r}") from error
