"""What the lake's stream costs beside a plain Spark stream that reads and parses the same log, in one session.

`python spark/bench/follow.py --rounds N FOLDER …`: each folder is a domain with one event, whose judged log is there.
Writes JSON: per folder its rounds, in turns. `dataforge bench lake` makes the logs, and runs it.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.load import load_domain
from dataforge.contracts.model import Domain, EventType
from dataforge.runtime.settings import load_settings

from lake import session, tables
from lake.jobs.bronze import Bronze
from lake.jobs.silver import Silver
from lake.jobs.stream import Stream
from lake.landing import Bucket
from lake.log import JudgedLog, reading
from lake.schema import ddl, event_columns
from lake.settings import LakeSettings

MERGED = 10_000
"""Records of the one `MERGE` that is measured into all the rest."""


class Cost(msgspec.Struct):
    records: int
    """That it says it has taken."""
    wall_s: float
    cpu_s: float
    """Of this process, Java, and Java's Python workers."""


class Rounds(msgspec.Struct):
    event: str
    stream: list[Cost]
    plain: list[Cost]
    merge: Cost
    """Silver: one of `MERGED` records, where all the others are in it."""


def main(rounds: int, folders: list[Path]) -> list[Rounds]:
    settings = load_settings(LakeSettings)
    spark = session.build(settings)
    lake = Lake(spark, settings)
    domains = [load_domain(folder) for folder in folders]
    for run in (lake.stream, lake.plain) * 2:  # Java compiles what it has seen often
        run(domains[0])
    found: list[Rounds] = []
    for domain in domains:
        taken = [(measured(lake.stream, domain), measured(lake.plain, domain)) for _ in range(rounds)]
        stream, plain = ([pair[n] for pair in taken] for n in (0, 1))
        found.append(Rounds(domain.events[0].contract.name, stream, plain, lake.merged(domain)))
    return found


class Lake:
    def __init__(self, spark: SparkSession, settings: LakeSettings) -> None:
        self._spark, self._settings = spark, settings
        bronze = Bronze(spark, Bucket.of(settings), settings.lake_commit_rows, say)
        self._stream = Stream(spark, bronze, JudgedLog(spark, settings.kafka), say)

    def stream(self, domain: Domain) -> int:
        """All of the log, into a table of its own."""
        event, table = domain.events[0], tables.bronze(domain.events[0].contract)
        self._spark.sql(f"DROP TABLE IF EXISTS {table.name} PURGE")
        tables.ensure(self._spark, table)
        while self._stream.take(event, domain.partitions).lag:
            pass
        return self._spark.table(table.name).count()

    def plain(self, domain: Domain) -> int:
        """What a guide to Spark would write: read, parse the value, hand it on. Nothing is kept."""
        contract = domain.events[0].contract
        read = self._spark.readStream.format("kafka").options(**reading(self._settings.kafka))
        read = read.option("maxOffsetsPerTrigger", self._settings.lake_commit_rows).option(
            "startingOffsets", "earliest"
        )
        log = read.option("subscribe", contract.judged_topic).load()
        event = F.from_json(F.col("value").cast("string"), ddl(event_columns(contract)))
        parsed = log.select("partition", "offset", "timestamp", "key", event.alias("event"))
        with tempfile.TemporaryDirectory() as checkpoint:
            rows = parsed.select("partition", "offset", "timestamp", "key", "event.*").writeStream.format("noop")
            query = rows.option("checkpointLocation", checkpoint).trigger(availableNow=True).start()
            query.awaitTermination()
            return sum(progress["numInputRows"] for progress in query.recentProgress)

    def merged(self, domain: Domain) -> Cost:
        event, table = domain.events[0], tables.silver(domain.events[0])
        self._spark.sql(f"DROP TABLE IF EXISTS {table.name} PURGE")
        held = self._spark.table(tables.bronze(event.contract).name).count()
        first = Silver(self._spark, held - MERGED, say).step(event)
        return measured(lambda _: self._last(event, first.left), domain)

    def _last(self, event: EventType, left: int) -> int:
        return left - Silver(self._spark, 2 * left, say).step(event).left


def measured(work: Callable[[Domain], int], domain: Domain) -> Cost:
    began_s, spent_s = time.monotonic(), cpu_s()
    records = work(domain)
    return Cost(records, round(time.monotonic() - began_s, 3), round(cpu_s() - spent_s, 3))


def cpu_s() -> float:
    """Of this process and all below it, those that have ended too."""
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:4]) for process in [me, *me.children(recursive=True)])


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("folders", nargs="+", type=Path)
    asked: Any = parser.parse_args()
    sys.stdout.write(msgspec.json.encode(main(asked.rounds, asked.folders)).decode() + "\n")
