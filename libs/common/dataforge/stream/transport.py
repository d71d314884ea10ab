"""The Faust transport that hands agents one `RecordBatch` per partition and poll (scheme `kafka-batch://`).

All of the Faust and aiokafka surgery is here and in `faust_app`, so that nobody else has to understand it. It relies on
internals of faust-streaming 0.15.3 and aiokafka 0.14.0, which are pinned: run the chaos suite on every upgrade.

What differs from Faust's own consumer:
- it runs in the loop of the agents, without a thread, and its messages are whole batches;
- positions come from the partitions' work (`Lanes.open`), never from the group, and it commits nothing;
- back-pressure is per partition: only partitions whose lane has room are polled, so a slow one holds no other;
- `start` and `next` of a batch are stamped here, where the position moves: `start` is where the take before
  ended or the seek target, not the first record's offset, which may lie after a gap in a sparse log.

*Source*: DESIGN R1, R2.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from aiokafka import AIOKafkaConsumer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaTopicPartition
from faust.exceptions import ConsumerNotStarted
from faust.transport import base
from faust.transport import consumer as faust_consumer
from faust.transport.drivers.aiokafka import Transport as KafkaTransport
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from dataforge.errors import Fatal
from dataforge.runtime import metrics
from dataforge.stream.assignor import Assignor
from dataforge.stream.connection import survive_resets
from dataforge.stream.fetched import take
from dataforge.stream.heartbeat import naming
from dataforge.stream.pacing import Pacing
from dataforge.stream.records import RecordBatch, TopicPartition

if TYPE_CHECKING:
    from dataforge.stream.faust_app import BatchApp

logger = logging.getLogger(__name__)
survive_resets()
_faust_logger = logging.getLogger("faust.transport")
"""Faust's services log their comings and goings through it; see `configure_logging`."""

POLL_S = 1.0
"""Longest wait of one poll; data, and room in a full lane, end it at once."""
METADATA_AGE_MS = 30_000
"""How late a member may be to notice that a topic has grown, or is back."""
SHARE_AGAIN_S = 60.0
"""Whoever leads may know less than this member for a while: asking more often would only cost rebalances."""
FETCH_WAIT_MS = 50
"""How long the broker may hold a fetch: Faust's fixed 1,500 ms lets an idle partition block a lagging one."""


class _Listener(ConsumerRebalanceListener):
    def __init__(self, consumer: "Consumer") -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[KafkaTopicPartition]) -> None:  # pyright: ignore
        consumer = self._consumer
        consumer.app.on_rebalance_start()
        try:
            await consumer.on_partitions_revoked({TP(*tp) for tp in revoked})
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and go on
            consumer.fail("revocation", error)

    async def on_partitions_assigned(self, assigned: Iterable[KafkaTopicPartition]) -> None:  # pyright: ignore
        consumer = self._consumer
        generation = consumer.kafka._coordinator.generation
        consumer.app.consumer_generation_id = generation
        metrics.REBALANCES.inc()
        consumer.standing_still("rebalance")
        try:
            if not assigned:  # else Faust has them opened, by `perform_seek`
                await consumer.lanes.open([])
            await consumer.on_partitions_assigned({TP(*tp) for tp in assigned}, generation)
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and go on
            consumer.fail("assignment", error)


class Consumer(faust_consumer.Consumer):
    """Faust's consumer over an aiokafka consumer in the same loop."""

    app: "BatchApp"  # pyright: ignore[reportIncompatibleVariableOverride]
    logger = _faust_logger
    consumer_stopped_errors: ClassVar[tuple[type[BaseException], ...]] = (ConsumerStoppedError,)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lanes = self.app.lanes
        self.fail = self.app.fail
        self._kafka: Any = None
        """The AIOKafkaConsumer; Any, because its internals, used below, are not typed."""
        self._taken: dict[KafkaTopicPartition, int] = {}
        self._suspended: int | None = None
        self._assignor = Assignor()
        self._pacing = Pacing(self.app.rest_s)
        self._share_again_s = 0.0
        """Of the loop's clock: not before."""

    @property
    def kafka(self) -> Any:
        if self._kafka is None:
            raise ConsumerNotStarted("the consumer has not started")
        return self._kafka

    # --- life ---

    async def on_start(self) -> None:
        conf = self.app.conf
        self.standing_still("first assignment")
        self.lanes.seek = self._seek_now
        self._kafka = AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            bootstrap_servers=self.app.servers,  # pyright: ignore[reportArgumentType]
            partition_assignment_strategy=[self._assignor],  # pyright: ignore[reportArgumentType] - an object will do
            enable_auto_commit=False,
            # A position outside of the log must be an error. Faust's "earliest" would skip what is lost, silently.
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            request_timeout_ms=int(self.app.request_timeout_s * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            metadata_max_age_ms=METADATA_AGE_MS,
        )
        await self._kafka.start()
        fetcher = self._kafka._fetcher
        fetcher._get_actions_per_node = self._pacing.paced(fetcher._get_actions_per_node)
        if conf.consumer_group_instance_id:
            coordinator = self._kafka._coordinator
            coordinator._send_req = naming(coordinator._send_req, conf.consumer_group_instance_id, self.fail)

    async def on_stop(self) -> None:
        if self._kafka is not None:
            await self._kafka.stop()

    def close(self) -> None:
        """Nothing: `on_stop` closes."""

    def stop_flow(self) -> None:
        self.standing_still("rebalance")
        super().stop_flow()

    def resume_flow(self) -> None:
        self._going_on()
        super().resume_flow()

    def standing_still(self, why: str) -> None:
        if self._suspended is None:
            self._suspended = self.app.watchdog.begin(why)

    def _going_on(self) -> None:
        if self._suspended is not None:
            self.app.watchdog.end(self._suspended)
            self._suspended = None

    async def subscribe(self, topics: Iterable[str]) -> None:
        self.kafka.subscribe(topics=sorted(topics), listener=_Listener(self))

    # --- rebalance ---

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Faust stops the flow and empties its buffers; then the partitions' work closes."""
        await super().on_partitions_revoked(revoked)
        await self.lanes.close()
        self._taken.clear()

    async def perform_seek(self) -> None:
        """Open the assigned partitions, and seek to where their own state says.

        *Raises* IllegalStateError, which Faust's recovery takes for "rebalanced again".
        """
        self._going_on()  # each call of an open is watched, and waiting for a server is no stall
        seeks = await self.lanes.open(self.assignment())
        self.standing_still("rebalance")
        if seeks is None:
            raise IllegalStateError("rebalanced while the partitions opened")
        for tp, offset in seeks.items():
            self._seek_now(tp, offset)

    def _seek_now(self, tp: TopicPartition, offset: int) -> None:
        partition = KafkaTopicPartition(*tp)
        self.kafka.seek(partition, offset)
        self._taken[partition] = offset

    # --- records ---

    async def _drain_messages(self, fetcher: Any) -> None:
        """Faust's fetcher loop: poll, and give each batch to the conductor, until stopped."""
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                if not self.flow_active:
                    await self.wait(self.can_resume_flow)  # pyright: ignore[reportArgumentType]
                    continue
                with self.app.watchdog.watch("poll"):
                    batches = await self._poll()
                for batch in batches:
                    # Dropped where a rebalance has begun: the lanes are closed, the next owner reads it.
                    if self.flow_active:
                        await self.callback(self._to_message(TP(*batch.tp), batch))
        except ConsumerStoppedError:
            return
        except OffsetOutOfRangeError as error:
            self.fail("poll", _out_of_range(error))
        except KafkaError as error:
            self.fail("poll", error)

    async def _poll(self) -> list[RecordBatch]:
        kafka, fetcher = self.kafka, self.kafka._fetcher
        if kafka._closed:
            raise ConsumerStoppedError
        subscription = kafka._subscription
        if partitions := self.lanes.roomy():
            with subscription.fetch_context():
                if subscription.reassignment_in_progress:  # what is fetched by then may not be this member's
                    await subscription.wait_for_assignment()
                fetched = take(fetcher, partitions, self.app.conf.broker_max_poll_records)
            if fetched:
                self._pacing.polled(sum(map(len, fetched.values())))
                return [batch for tp, records in fetched.items() if (batch := self._stamp(tp, records)) is not None]
        # The fetcher wakes its waiters when data came in; no await lies between the look above and this line.
        waiter = fetcher._create_fetch_waiter()
        self.lanes.when_roomy(waiter)
        with subscription.fetch_context():
            done, _ = await asyncio.wait([waiter], timeout=POLL_S)
        if done:
            waiter.result()
        else:
            waiter.cancel()
        return []

    def _stamp(self, tp: KafkaTopicPartition, records: list[Any]) -> RecordBatch | None:
        assigned = self.kafka._subscription.subscription.assignment
        if tp not in self._taken or tp not in assigned.tps:
            return None
        start, after = self._taken[tp], assigned.state_value(tp).position
        self._taken[tp] = after
        return RecordBatch(tp.topic, tp.partition, start, after, records)

    def _to_message(self, tp: TP, record: RecordBatch) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            record.start,
            0.0,
            0,
            None,
            None,
            record,  # pyright: ignore[reportArgumentType]
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    # Back-pressure is the lanes' matter.
    def on_buffer_full(self, tp: TP) -> None: ...

    def on_buffer_drop(self, tp: TP) -> None: ...

    # --- offsets ---

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Faust's commits do nothing: an offset moves with its state (DESIGN R2)."""
        return False

    async def verify_all_partitions_active(self) -> None:
        """Nothing: the watchdog knows better than Faust's committed offsets, which do not exist here."""

    def check(self) -> None:
        """*Raises* what ended the group's coordination (fenced, not authorized), fetching, or looking for leaders.

        Nobody else is told, and the partitions would be kept.
        """
        self.kafka._coordinator.check_errors()
        for task in (self.kafka._fetcher._fetch_task, self.kafka._client._sync_task):
            if task.done() and not task.cancelled():
                task.result()

    async def share_anew(self) -> None:
        """Have the group share its partitions again if there are others now than it shared; see `assignor`."""
        client, topics, now_s = self.kafka._client, self.lanes.topics, asyncio.get_running_loop().time()
        joining = self.kafka._subscription.reassignment_in_progress
        if joining or now_s < self._share_again_s or not self._assignor.differs(client.cluster, topics):
            return
        await client.force_metadata_update()  # where a topic is only unknown for a moment, nobody needs to share
        if self._assignor.differs(client.cluster, topics):
            logger.info("the group has shared other partitions than there are now; joining anew")
            self._share_again_s = now_s + SHARE_AGAIN_S
            self._assignor.ask()
            self.kafka._coordinator.request_rejoin()

    async def report(self, positions: Mapping[TopicPartition, int]) -> None:
        """Tell the group how far the work is, for lag tools. Best effort, never read back."""
        assigned = self.assignment()
        offsets = {
            KafkaTopicPartition(*tp): OffsetAndMetadata(offset, "")
            for tp, offset in positions.items()
            if tp in assigned
        }
        try:
            if offsets:
                await self.kafka.commit(offsets)
        except KafkaError as error:
            logger.debug("positions were not reported: %s", error)

    def assignment(self) -> set[TP]:
        return {TP(*tp) for tp in self.kafka.assignment()}

    def highwater(self, tp: TP) -> int:
        return self.kafka.highwater(KafkaTopicPartition(*tp)) or 0

    async def ends(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the logs end now, asked of Kafka."""
        found = await self.kafka.end_offsets([KafkaTopicPartition(*tp) for tp in tps])
        return {TopicPartition(*tp): end for tp, end in found.items()}

    def topic_partitions(self, topic: str) -> int | None:
        return len(self.kafka.partitions_for_topic(topic) or ()) or None

    # --- Faust's interface that a stateful consumer without tables never uses ---

    async def create_topic(self, topic: str, partitions: int, replication: int, **_: Any) -> None:
        raise NotImplementedError

    async def seek_to_committed(self) -> Mapping[TP, int]:
        raise NotImplementedError

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        raise NotImplementedError

    async def _seek(self, partition: TP, offset: int) -> None:
        raise NotImplementedError

    async def position(self, tp: TP) -> int | None:
        raise NotImplementedError

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        raise NotImplementedError

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        raise NotImplementedError

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        raise NotImplementedError

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109
        raise NotImplementedError

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        raise NotImplementedError


def _out_of_range(error: OffsetOutOfRangeError) -> Fatal:
    fatal = Fatal(
        f"a position is outside of its log: {error}. Retention overtook this reader, or the topic was recreated; the "
        "next start compares them, and reads on from the landing chain where there is one"
    )
    fatal.__cause__ = error
    return fatal


class _Producer(base.Producer):
    """Faust wants one; nothing is sent through it, so it opens no connection (see `BatchProducer`)."""


class Transport(KafkaTransport):
    """Entry point `kafka-batch` of the group `faust.transports`."""

    Consumer: ClassVar[Any] = Consumer
    Producer: ClassVar[Any] = _Producer
