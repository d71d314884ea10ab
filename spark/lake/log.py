"""The judged logs as Kafka holds them: where they begin and end, whether they are the ones that were read before, and
their records as a DataFrame.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dataforge.stream.catch_up import compare
from dataforge.stream.kafka_log import KafkaLog
from dataforge.stream.origin import NO_ID, Bounds, Origin
from dataforge.stream.records import JUDGED_MAX_BYTES, Record, TopicPartition

from lake.objects import JUDGED
from lake.position import Place

T = TypeVar("T")

_POLL_RECORDS = 5_000
"""Of one poll of Spark's consumers: their default, 500, costs a tenth more."""


@dataclass(frozen=True, slots=True)
class JudgedLog:
    """Of all topics of one Kafka."""

    spark: SparkSession
    bootstrap: str

    def bounds(self, topic: str, places: Mapping[int, Place]) -> dict[int, Bounds]:
        """What the log holds of each partition now, once nothing speaks against its being the one of `places`.

        *Raises* `Fatal` where it was replaced or does not exist, `Transient` where Kafka does not answer.
        """

        async def look(log: KafkaLog) -> list[Bounds]:
            asked = (compare(log, TopicPartition(topic, p), at.position, _origin(at)) for p, at in places.items())
            return await asyncio.gather(*asked)

        return dict(zip(places, _asked(self.bootstrap, look), strict=True))

    def last(self, topic: str, ends: Mapping[int, int]) -> dict[int, Record | None]:
        """The records right before these ends; None where the log holds none there. *Raises* `Transient`."""

        async def look(log: KafkaLog) -> list[Record | None]:
            return await asyncio.gather(*(log.record_at(TopicPartition(topic, p), end - 1) for p, end in ends.items()))

        return dict(zip(ends, _asked(self.bootstrap, look), strict=True))

    def records(self, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]) -> DataFrame:
        """Those from its start to, and without, its end of each partition. *Shape*: `objects.JUDGED`.

        A query over it fails where the log no longer holds them. A task reads one partition, in its order.
        """
        said = reading(self.bootstrap) | {
            "assign": _json({topic: sorted(ends)}),
            "startingOffsets": _json({topic: {str(p): starts[p] for p in ends}}),
            "endingOffsets": _json({topic: {str(p): end for p, end in ends.items()}}),
        }
        read = self.spark.read.format("kafka").options(**said).load()
        return read.select(
            "partition",
            "offset",
            F.unix_millis("timestamp").alias("timestamp"),
            "key",
            "value",
            F.col("headers").cast(JUDGED["headers"]).alias("headers"),
        )


def reading(bootstrap: str) -> dict[str, str]:
    """How Spark reads any of them."""
    return {
        "kafka.bootstrap.servers": bootstrap,
        "includeHeaders": "true",
        "failOnDataLoss": "true",
        "kafka.isolation.level": "read_committed",
        "kafka.max.poll.records": str(_POLL_RECORDS),
        "kafka.max.partition.fetch.bytes": str(JUDGED_MAX_BYTES),
    }


def log_ends(bootstrap: str, topic: str, partitions: int) -> dict[int, int]:
    """Partition -> where its log ends. *Raises* `Fatal` where there is no such topic, `Transient`."""

    async def look(log: KafkaLog) -> list[Bounds]:
        return await asyncio.gather(*(log.bounds(TopicPartition(topic, p)) for p in range(partitions)))

    return {p: bounds.end for p, bounds in enumerate(_asked(bootstrap, look))}


def _asked(bootstrap: str, question: Callable[[KafkaLog], Awaitable[list[T]]]) -> list[T]:
    async def ask() -> list[T]:
        log = KafkaLog(bootstrap)
        try:
            return await question(log)
        finally:
            await log.close()

    return asyncio.run(ask())


def _origin(place: Place) -> Origin:
    return Origin(bytes.fromhex(place.topic_id) or NO_ID)


def _json(said: object) -> str:
    return msgspec.json.encode(said).decode()
