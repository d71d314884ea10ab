"""The control topic as one process sees it: follows it, and appends to it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec
from msgspec.structs import replace

from dataforge.control import NEVER, TOPIC, Command, Lift, Paused, Pauses, decode, encode
from dataforge.errors import DataForgeError, Fatal, Transient
from dataforge.stream.kafka_log import KafkaLog
from dataforge.stream.records import Record, TopicPartition

logger = logging.getLogger(__name__)

CONTROL = TopicPartition(TOPIC, 0)
FOLLOW_S = 0.5
ANSWER_S = 10.0


class Producer(Protocol):
    """What `dataforge.stream.producer.BatchProducer` is."""

    async def send(
        self, topic: str, partition: int, records: Iterable[tuple[bytes, bytes, Sequence[tuple[str, bytes]]]]
    ) -> int | None: ...


ReadFrom = Callable[[TopicPartition, int], AsyncIterator[Sequence[Record]]]
"""(partition, offset) -> its records from there to the end it has now."""


class Control:
    """Which topics are paused.

    *Guarantees*: once `append` has returned, the command is in the log, and this view knows it and all before it.
    Commands of other processes are known within `FOLLOW_S` where `follow` runs.
    """

    def __init__(self, producer: Producer, read_from: ReadFrom) -> None:
        self._producer, self._read_from = producer, read_from
        self._pauses = Pauses()
        self._reading = asyncio.Lock()
        self.next = 0
        """Control offset up to which it has read."""

    def pause_of(self, topic: str) -> Paused | None:
        return self._pauses.paused.get(topic)

    def lift_of(self, topic: str) -> Lift:
        """The newest resume: another one than before means that measuring begins anew."""
        return self._pauses.lifts.get(topic, NEVER)

    @property
    def paused(self) -> list[Paused]:
        return list(self._pauses.paused.values())

    async def append(self, command: Command) -> None:
        """*Raises* `Fatal` where it is not certain that the command is in the log, `Transient` as `refresh`."""
        await self._producer.send(*CONTROL, [(command.topic.encode(), encode(command), [])])
        await self.refresh()

    async def refresh(self) -> None:
        """Read what is new. *Raises* `Transient` where Kafka is away, `Fatal` where the log was replaced."""
        async with self._reading:
            async for records in self._read_from(CONTROL, self.next):
                for record in records:
                    self._apply(record)

    def _apply(self, record: Record) -> None:
        try:
            self._pauses.apply(record.offset, decode(record.value or b""))
        except msgspec.DecodeError as error:
            # Maybe a later version's: nothing that pauses one topic may end the work on all of them.
            logger.error("record %d of %s is no command, and left out: %s", record.offset, TOPIC, error)
        self.next = record.offset + 1

    async def follow(self) -> None:
        """Until cancelled. While the topic cannot be read, what was known holds; also where its log was replaced."""
        told = False
        while True:
            await asyncio.sleep(FOLLOW_S)
            try:
                await self._look()
                told = False
            except DataForgeError as error:
                if not told:
                    logger.warning("%s cannot be read, so pauses and resumes are not noticed: %s", TOPIC, error)
                told = True
            except Exception:
                # A view that no longer follows would look like one in which nothing is paused or resumed.
                logger.exception("a look at %s failed", TOPIC)

    async def _look(self) -> None:
        try:
            await self.refresh()
        except Fatal as error:
            logger.error("%s; what is paused is said again, and stays so", error)
            await self._say_again()

    async def _say_again(self) -> None:
        for pause in self.paused:
            # A resume that is in the new log already is newer than all of these.
            await self._producer.send(*CONTROL, [(pause.topic.encode(), encode(replace(pause, seen=0)), [])])
        anew = Control(self._producer, self._read_from)
        await anew.refresh()
        self._pauses, self.next = anew._pauses, anew.next


class ControlTopic:
    """Kafka's part: a connection that is kept, and made anew after an error."""

    def __init__(self, bootstrap: str) -> None:
        self._log = KafkaLog(bootstrap)
        self._following: asyncio.Task[None] | None = None

    async def open(self, control: Control) -> None:
        """Learn everything, then follow. *Raises* `Fatal` where there is no such topic, `Transient`."""
        await self._log.topic_ids([TOPIC])
        await control.refresh()
        self._following = asyncio.create_task(control.follow(), name=f"follow {TOPIC}")

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        await self._log.close()

    async def read_from(self, tp: TopicPartition, offset: int) -> AsyncIterator[Sequence[Record]]:
        """*Raises* `Transient` where Kafka is away, `Fatal` where the log ends before `offset`: it was replaced."""
        try:
            async with asyncio.timeout(ANSWER_S):
                records = [record async for some in self._log.read_from(tp, offset) for record in some]
        except TimeoutError as error:
            raise Transient(f"Kafka does not read {tp.topic} within {ANSWER_S} s") from error
        yield records
