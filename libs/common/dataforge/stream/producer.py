"""Writes records to given partitions, in order, and knows that they are there.

*Guarantees*: one produce per partition in flight; idempotent, acks=all; `send` returns once every record is
acknowledged, and their offsets follow the order given. A failed or expired send raises `Fatal`: its result is
unknown, and aiokafka would go on with the next batch (DESIGN R4, R8).
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from dataforge.errors import Fatal, Transient
from dataforge.runtime import metrics
from dataforge.stream.connection import survive_resets

survive_resets()


class BatchProducer:
    """*Raises*: `Transient` while nothing was sent (no connection at start), `Fatal` once something was."""

    def __init__(
        self,
        bootstrap: str,
        *,
        max_batch_bytes: int = 512 * 1024,
        max_record_bytes: int = 8 * 1024 * 1024,
        request_timeout_s: float = 20,
        client_id: str = "dataforge",
    ) -> None:
        self._bootstrap, self._client_id = bootstrap, client_id
        self._max_batch_bytes, self._max_record_bytes = max_batch_bytes, max_record_bytes
        self._request_timeout_s = request_timeout_s
        self._locks: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. *Raises* `Transient`."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            compression_type="zstd",  # docs/adr/0021-zstd-in-the-log.md
            max_batch_size=self._max_batch_bytes,
            max_request_size=self._max_record_bytes,
            request_timeout_ms=int(self._request_timeout_s * 1000),
        )
        try:
            await producer.start()
        except BaseException as error:
            await producer.stop()
            if isinstance(error, KafkaError):
                raise Transient(f"Kafka at {self._bootstrap} does not answer: {error}") from error
            raise
        self._producer = producer

    async def stop(self) -> None:
        """Disconnect. Waits for what is in flight."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await producer.stop()

    async def send(
        self,
        topic: str,
        partition: int,
        records: Iterable[tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]],
    ) -> int:
        """Write the records in order; returns the offset of the last one (-1 where there was none).

        Cancelling it leaves the result unknown: treat that as `Fatal`.
        """
        if self._producer is None:
            raise Fatal("the producer was not started")
        async with self._locks[topic, partition]:
            started = time.monotonic()
            last, sent = -1, 0
            try:
                for builder in self._filled(self._producer, records):
                    last = await self._flush(builder, topic, partition)
                    sent += builder.record_count()
            except KafkaError as error:
                raise Fatal(
                    f"a send to {topic}/{partition} failed ({error!r}): its result is unknown, so this process leaves"
                ) from error
            metrics.PRODUCED.labels(topic).inc(sent)
            metrics.PRODUCE_SECONDS.labels(topic).observe(time.monotonic() - started)
            return last

    @staticmethod
    def _filled(
        producer: AIOKafkaProducer,
        records: Iterable[tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]],
    ) -> Iterator[BatchBuilder]:
        """Batches filled in order; a record larger than a batch gets one of its own."""
        builder, now_ms = producer.create_batch(), time.time_ns() // 1_000_000
        for key, value, headers in records:
            listed = headers if type(headers) is list else list(headers)
            if builder.append(key=key, value=value, timestamp=now_ms, headers=listed) is None:
                yield builder
                builder, now_ms = producer.create_batch(), time.time_ns() // 1_000_000
                # An empty batch takes a record of any size.
                builder.append(key=key, value=value, timestamp=now_ms, headers=listed)
        if builder.record_count():
            yield builder

    async def _flush(self, builder: BatchBuilder, topic: str, partition: int) -> int:
        """Send one batch and wait for its acknowledgement. Returns its last record's offset."""
        assert self._producer is not None  # noqa: S101 - `send` looked
        acknowledged = await self._producer.send_batch(builder, topic, partition=partition)
        metadata = await acknowledged
        if metadata.offset < 0:
            raise Fatal(f"Kafka acknowledged a batch for {topic}/{partition} without an offset")
        return metadata.offset + builder.record_count() - 1
