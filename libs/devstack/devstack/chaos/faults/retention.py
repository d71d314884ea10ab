"""Retention that overtakes a reader: it is down while Kafka deletes what it has not read; the chain has it all."""

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import suppress

from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from botocore.exceptions import BotoCoreError, ClientError

from devstack.chaos.fault import Evidence, NotInForce, Stage
from devstack.chaos.faults.processes import hold_down, instances_of
from devstack.oracle.landed import Bucket, Landing
from devstack.oracle.log import end_offsets

_LANDED_S = 20.0


class Overtaken:
    """Every instance of a reader is killed and held down; its topic is deleted up to what is landed, and known to
    those who look on.
    """

    kind = "retention"

    def __init__(self, reader: str) -> None:
        self.victim = reader
        self.evidence: Evidence = {}
        self._held: list[str] = []

    async def inject(self, stage: Stage) -> None:
        try:
            await self._overtake(stage)
        except (KafkaError, OSError) as error:
            raise NotInForce(f"Kafka does not answer: {error!r}") from error

    async def _overtake(self, stage: Stage) -> None:
        topic = stage.judged_topic if self.victim == "aggregator" else stage.raw_topic
        self._held = instances_of(stage, self.victim)
        self.evidence["pids"] = await hold_down(stage, self._held)
        read_at_most = await end_offsets(stage.direct.kafka, topic)
        landed = await self._landed_beyond(stage, topic, read_at_most)
        admin = AIOKafkaAdminClient(bootstrap_servers=stage.direct.kafka)
        await admin.start()
        try:
            await admin.delete_records(
                {
                    TopicPartition(topic, partition): RecordsToDelete(before_offset=end)
                    for partition, end in landed.items()
                }
            )
        finally:
            await admin.close()
        self.evidence |= {"topic": topic, "log_starts_at": landed, "read_at_most": read_at_most}

    async def _landed_beyond(self, stage: Stage, topic: str, read: dict[int, int]) -> dict[int, int]:
        """Partition -> landed end, of those that have landed records the reader cannot have seen."""
        landing = Landing(Bucket.of(stage.direct), topic)
        deadline = time.monotonic() + _LANDED_S
        ends: dict[int, int] = {}
        while time.monotonic() < deadline:
            with suppress(ClientError, BotoCoreError, OSError):  # another fault may hold the store
                ends = await landing.next()
            if found := deletable(ends, read, stage.read.get(topic)):
                return found
            await asyncio.sleep(0.2)
        raise NotInForce(f"nothing new of {topic} was landed within {_LANDED_S:.0f} s")

    async def heal(self, stage: Stage) -> None:
        while self._held:
            stage.stack.release(self._held.pop())


def deletable(landed: Mapping[int, int], read: Mapping[int, int], seen: Mapping[int, int] | None) -> dict[int, int]:
    """Partition → offset before which its log can go: of what is landed, no more than the onlookers have `seen`, where
    there are any; only partitions that then lose something the reader has not `read`. Pure.
    """
    ends = {p: end if seen is None else min(end, seen.get(p, 0)) for p, end in landed.items()}
    return {p: end for p, end in ends.items() if end > read.get(p, 0)}


def draw(chosen: random.Random) -> Overtaken:
    return Overtaken(chosen.choice(("aggregator", "quality-worker")))
