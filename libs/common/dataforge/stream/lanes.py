"""The partitions assigned to this process: each a lane whose work runs in order, beside the others.

Pure asyncio: knows neither Faust nor Kafka, and is tested without them. The transport asks which lanes
have room, hands them batches, and seeks where they ask.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from dataforge.errors import Fatal, Transient
from dataforge.runtime import metrics
from dataforge.runtime.watchdog import Watchdog
from dataforge.stream.lane import TICK_S, Fail, Lane
from dataforge.stream.origin import same_topic
from dataforge.stream.records import RecordBatch, TopicPartition
from dataforge.stream.work import Source

logger = logging.getLogger(__name__)


class Lanes:
    """The lanes of all sources of a process.

    *Guarantees*: between `open` and `close` each assigned partition has exactly one open work; a missed
    deadline, or an error that is not `Transient`, ends the process through `fail`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        fail: Fail,
        watchdog: Watchdog,
        close_deadline_s: float,
        tick_s: float = TICK_S,
    ) -> None:
        self._sources = sources
        self._source_of = {topic: source for source in sources for topic in source.topics}
        if len(self._source_of) != sum(len(source.topics) for source in sources):
            raise Fatal("two sources name the same topic: a partition has one position, so one source")
        self._fail, self._watchdog, self._tick_s = fail, watchdog, tick_s
        self._close_deadline_s = close_deadline_s
        self._lanes: dict[TopicPartition, Lane] = {}
        self._ids: dict[str, bytes] = {}
        """Topic -> its id, as first seen by this process."""
        self._opening: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self.ready = False
        """Assigned, and every assigned partition (maybe none) is open."""
        self.seek: Callable[[TopicPartition, int], None] = lambda *_: None
        """Where the next poll of a partition shall begin; the transport puts its own here."""

    @property
    def topics(self) -> Sequence[str]:
        return list(self._source_of)

    def roomy(self) -> set[TopicPartition]:
        """The partitions a poll may bring batches for."""
        return {tp for tp, lane in self._lanes.items() if lane.has_room}

    def when_roomy(self, waiter: asyncio.Future[None]) -> None:
        """Wake this future when a lane gets room."""
        self._room = waiter

    def _on_roomy(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def offer(self, batch: RecordBatch) -> None:
        """Queue a batch. One for a partition that is no longer here is dropped: its new owner reads it."""
        if (lane := self._lanes.get(batch.tp)) is not None:
            lane.offer(batch)

    def snapshot(self) -> Mapping[TopicPartition, Lane]:
        """The lanes there are now; they survive a `close`, for last words about them."""
        return {tp: lane for tp, lane in self._lanes.items() if lane.next >= 0}

    def positions(self) -> Mapping[TopicPartition, int]:
        """Next offset whose work is not yet safe, of each open partition."""
        return {tp: lane.work.position for tp, lane in self._lanes.items() if lane.next >= 0}

    async def open(self, tps: Iterable[tuple[str, int]]) -> Mapping[TopicPartition, int] | None:
        """Open every partition; returns where to seek, or None where `close` came in between.

        A failed open ends the process. A server that is away is waited for; a call that hangs is the watchdog's.
        """
        await self.close()
        opening = self._opening = asyncio.create_task(self._open_all([TopicPartition(*tp) for tp in tps]))
        try:
            await opening
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                opening.cancel()
                raise
            if self._opening is opening:
                self._fail("open", error)  # by nobody: else whoever waits for it would wait for ever
            return None
        except Exception as error:  # noqa: BLE001 - see Guarantees
            self._fail("open", error)
            return None
        if self._opening is not opening:  # closed between the last open and this line
            return None
        self._opening = None
        self.ready = True
        seeks = {tp: lane.standby for tp, lane in self._lanes.items()}
        for tp, lane in self._lanes.items():
            self._ids.setdefault(tp.topic, lane.topic_id)
        counts = dict.fromkeys((source.name for source in self._source_of.values()), 0)
        for tp in seeks:
            counts[self._source_of[tp.topic].name] += 1
        for name, number in counts.items():
            metrics.ASSIGNED.labels(name).set(number)
        logger.info("partitions are open", extra={"positions": {f"{t}/{p}": at for (t, p), at in seeks.items()}})
        return seeks

    async def _open_all(self, tps: Sequence[TopicPartition]) -> None:
        for tp in tps:
            source = self._source_of[tp.topic]
            self._lanes[tp] = Lane(
                tp,
                source.open_partition(tp),
                seek=lambda tp, offset: self.seek(tp, offset),
                roomy=self._on_roomy,
                fail=self._fail,
                watchdog=self._watchdog,
                tick_s=self._tick_s,
                log=source.log,
                history=source.history,
            )
        await asyncio.gather(*(self._lanes[tp].open() for tp in tps))

    async def compare(self) -> None:
        """Is every topic still the one that was opened? One that was replaced, or deleted, ends the process."""
        for source in self._sources:
            if source.log is None:
                continue
            try:
                ids = await source.log.topic_ids(source.topics)
            except Transient as error:
                logger.info("the topics of %s were not compared: %s", source.name, error)
            except Exception as error:  # noqa: BLE001 - see Guarantees
                self._fail(f"compare {source.name}", error)
            else:
                self._compare(ids)

    def _compare(self, ids: Mapping[str, bytes]) -> None:
        # Also topics no partition of which is here: a rebalance while a topic was away leaves it to nobody.
        for topic, topic_id in ids.items():
            if not same_topic(self._ids.setdefault(topic, topic_id), topic_id):
                self._fail(f"compare {topic}", Fatal(f"the topic was recreated while it was read: {topic}"))
                return

    async def close(self) -> None:
        """Close every open partition within the deadline, and forget them all. Repeating it does nothing."""
        self.ready = False
        if (opening := self._opening) is not None:
            self._opening = None
            opening.cancel()
            _, late = await asyncio.wait([opening], timeout=self._close_deadline_s)
            if late:
                # Whatever it waits for swallowed the cancellation; the group must not wait for it.
                self._fail("close", Fatal(f"an open did not end within {self._close_deadline_s} s of being cancelled"))
        lanes, self._lanes = self._lanes, {}
        if not lanes:
            return
        try:
            async with asyncio.timeout(self._close_deadline_s):
                await asyncio.gather(*(lane.close() for lane in lanes.values()))
        except TimeoutError as error:
            missed = Fatal(f"closing took longer than {self._close_deadline_s} s")
            missed.__cause__ = error
            self._fail("close", missed)
        except Exception as error:  # noqa: BLE001 - see Guarantees
            self._fail("close", error)
        for tp in lanes:
            for gauge in (metrics.POSITION, metrics.LAG):
                gauge.remove(*map(str, tp))
