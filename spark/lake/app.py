"""The lake's wiring: which job does what for which events, once or as a program that follows the logs. Everything a
job needs comes in here.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from pyspark.sql import SparkSession

from dataforge.contracts.load import load_domains
from dataforge.contracts.model import Domain, EventType
from dataforge.errors import DataForgeError
from dataforge.runtime import process
from dataforge.runtime.admin import AdminServer
from dataforge.runtime.logs import configure_logging
from dataforge.runtime.tracing import configure_tracing, stop_tracing

from lake import session
from lake.jobs.agree import Agree
from lake.jobs.bronze import Bronze
from lake.jobs.correct import Correct, to_kafka
from lake.jobs.export import Export
from lake.jobs.gold import Gold
from lake.jobs.lookups import Lookups
from lake.jobs.silver import Silver, Step
from lake.jobs.stream import Stream
from lake.judge import Agreement
from lake.landing import Bucket
from lake.log import JudgedLog
from lake.settings import LakeSettings
from lake.status import TableStatus, ends, status
from lake.streaming import Jobs, Streaming

logger = logging.getLogger(__name__)

Did = dict[str, int]
"""What a job did, in numbers of its own: `{"commits": 3}`."""

Job = Callable[[EventType, int], Did]
"""(event, its partitions) -> what was done."""

JOBS = ("bronze", "silver", "gold", "lookups", "correct", "export")
ALL = "all"
WHOLE = ("bronze", "silver", "gold", "lookups")
"""What `all` runs, in this order."""


class UnknownDomain(DataForgeError):
    """Somebody asked for a domain that is not in the settings' folders."""


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@dataclass(frozen=True, slots=True)
class Lake:
    spark: SparkSession
    domains: Sequence[Domain]
    jobs: dict[str, Job]
    agree: Callable[[EventType, int], Agreement]
    ends: Callable[[EventType, int], dict[int, int] | None]

    def run(self, job: str) -> dict[str, dict[str, Did]]:
        """A job, or all that make the lake, for every event. Returns event -> job -> what it did."""
        names = WHOLE if job == ALL else (job,)
        return {
            event.contract.name: {name: self.jobs[name](event, domain.partitions) for name in names}
            for domain in self.domains
            for event in domain.events
        }

    def agreed(self) -> Agreement:
        total = Agreement()
        for domain in self.domains:
            for event in domain.events:
                total.add(self.agree(event, domain.partitions))
        return total

    def status(self) -> list[TableStatus]:
        return status(self.spark, self.domains, self.ends)


def build(settings: LakeSettings, domain: str | None = None) -> Lake:
    """*Raises* `DomainError` where a folder is not usable, `UnknownDomain`."""
    chosen = chosen_domains(settings, domain)
    spark = session.build(settings)
    bronze = Bronze(spark, Bucket.of(settings), settings.lake_commit_rows, say)
    silver = Silver(spark, settings.lake_commit_rows, say)
    gold = Gold(spark, say)
    agree = Agree(spark, settings.redis_url, say)
    of = {one.name: one for one in chosen}
    lookups = Lookups(spark, say)
    export = Export(spark, settings.postgres_url, settings.lake_commit_rows, say)
    jobs: dict[str, Job] = {
        "bronze": lambda event, partitions: {"commits": bronze.run(event, partitions)},
        "silver": lambda event, _: {"commits": silver.run(event)},
        "gold": lambda event, _: {"commits": gold.run(event)},
        "correct": Correct(agree, to_kafka(settings.kafka), say).run,
        "lookups": lambda event, _: {"tables": lookups.run(of[event.contract.domain])},
        "export": lambda event, _: export.run(of[event.contract.domain], event),
    }
    return Lake(spark, chosen, jobs, agree.run, partial(ends, settings))


def chosen_domains(settings: LakeSettings, domain: str | None) -> list[Domain]:
    """*Raises* `DomainError`, `UnknownDomain`."""
    domains = load_domains(settings.domain_folders)
    if domain is not None and domain not in {d.name for d in domains}:
        raise UnknownDomain(f"there is no domain {domain!r}; there are: {', '.join(d.name for d in domains)}")
    return [d for d in domains if domain in (None, d.name)]


def stream(settings: LakeSettings, domain: str | None = None, gold_every_s: float | None = None) -> NoReturn:
    """Follow the judged logs until SIGTERM or SIGINT; how it ends: `dataforge.runtime.process`. *Raises* as `build`."""
    chosen = chosen_domains(settings, domain)
    configure_logging("lake", settings.log_level)
    configure_tracing("lake", settings.otlp_endpoint, instance=settings.instance, all_work=True)
    with session.deaf_java():
        spark = session.build(settings)
    bronze = Bronze(spark, Bucket.of(settings), settings.lake_commit_rows, logger.info)
    silver, gold = Silver(spark, settings.lake_commit_rows, logger.info), Gold(spark, logger.info)
    taking = Stream(spark, bronze, JudgedLog(spark, settings.kafka), logger.info)
    jobs = Jobs(taking.take, silver.step, lambda event: Step(gold.run(event), 0))
    events = [(event, domain.partitions) for domain in chosen for event in domain.events]
    streaming = Streaming(jobs, events, settings.lake_interval_s, gold_every_s)
    admin = AdminServer(
        settings.admin_port, streaming.checks, host=settings.admin_host, alive=streaming.watchdog.problem
    )

    async def main(stop: asyncio.Event) -> None:
        await admin.start()
        try:
            await streaming.run(stop)
        finally:
            await admin.stop()
            await asyncio.to_thread(stop_tracing)

    process.run(main)
