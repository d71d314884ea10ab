"""A lake that follows its judged log in a real Kafka."""

from collections.abc import Sequence

from pyspark.sql import SparkSession

from dataforge.contracts.model import Domain
from dataforge.stream.records import LogRecord

from lake import tables
from lake.jobs.silver import Silver
from lake.jobs.stream import Stream
from lake.log import JudgedLog
from lake.position import head
from lake.settings import LakeSettings
from logs import Topic
from orders import PARTITIONS, Sent, judged, parts
from worlds import ALL, World


class Following(World):
    """The jobs over one event, and its judged topic. A commit of bronze takes `rows`, one of silver all."""

    def __init__(self, spark: SparkSession, settings: LakeSettings, domain: Domain, kafka: str, rows: int) -> None:
        super().__init__(spark, settings, domain, rows)
        self.silver = Silver(spark, ALL, self.said.append)
        self.topic = Topic(kafka, self.event.contract.judged_topic)
        self.stream = Stream(spark, self.bronze, JudgedLog(spark, kafka), self.said.append)

    def follow(self) -> int:
        """To the log's end. Returns how many commits it took."""
        commits = 0
        while (progress := self.stream.take(self.event, PARTITIONS)).lag:
            assert progress.records, "it stands still"
            commits += 1
        return commits + bool(progress.records)

    def positions(self) -> list[int]:
        now = head(self.spark, tables.bronze(self.event.contract))
        return [now.at(p).position for p in range(PARTITIONS)]


def logs_of(sent: Sequence[Sent]) -> list[list[LogRecord]]:
    return [judged(part, zombie=True) for part in parts(sent)]
