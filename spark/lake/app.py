"""The lake's wiring: which job does what for which events. Everything a job needs comes in here; what follows the logs
is wired in `lake.program`.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

from pyspark.sql import SparkSession

from dataforge.contracts.load import load_domains
from dataforge.contracts.model import Domain, EventType
from dataforge.errors import DataForgeError
from dataforge.quality.report import SOURCES

from lake import session, suite
from lake.jobs.agree import Agree
from lake.jobs.backfill import Backfill
from lake.jobs.bronze import Bronze
from lake.jobs.compact import Compact
from lake.jobs.correct import Correct, to_kafka
from lake.jobs.drop import Drop
from lake.jobs.expire import Expire
from lake.jobs.export import Export
from lake.jobs.gate import Gate
from lake.jobs.gold import Gold
from lake.jobs.lookups import Lookups
from lake.jobs.orphans import Orphans
from lake.jobs.quality import Quality
from lake.jobs.silver import Silver
from lake.judge import Agreement
from lake.landing import Bucket
from lake.progress import Progress
from lake.reports import Reports, kafka_alerts, stored
from lake.settings import LakeSettings
from lake.status import TableStatus, ends, status

Did = dict[str, int]
"""What a job did, in numbers of its own: `{"commits": 3}`."""

Job = Callable[[EventType, int], Did]
"""(event, its partitions) -> what was done."""

Say = Callable[[str], None]

JOBS = (
    "bronze", "silver", "gold", "lookups", "correct", "quality", "export", "backfill", "compact", "expire", "orphans",
)  # fmt: skip
ALL = "all"
WHOLE = ("bronze", "silver", "gold", "lookups")
"""What `all` runs, in this order."""


class UnknownDomain(DataForgeError):
    """Somebody asked for a domain that is not in the settings' folders."""


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def wall_ms() -> int:
    """The time of day, ms since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Lake:
    spark: SparkSession
    domains: Sequence[Domain]
    jobs: dict[str, Job]
    agree: Callable[[EventType, int], Agreement]
    ends: Callable[[EventType, int], dict[int, int] | None]
    progress: Progress

    def run(self, job: str) -> dict[str, dict[str, Did]]:
        """A job, or all that make the lake, for every event. Returns event -> job -> what it did."""
        names = WHOLE if job == ALL else (job,)
        return {
            event.contract.name: {name: self._run(name, event, domain.partitions) for name in names}
            for domain in self.domains
            for event in domain.events
        }

    def _run(self, name: str, event: EventType, partitions: int) -> Did:
        self.progress.begin(name, event.contract.name)
        return self.jobs[name](event, partitions)

    def agreed(self) -> Agreement:
        total = Agreement()
        for domain in self.domains:
            for event in domain.events:
                total.add(self.agree(event, domain.partitions))
        return total

    def status(self) -> list[TableStatus]:
        return status(self.spark, self.domains, self.ends)


def build(settings: LakeSettings, domain: str | None = None, since: date | None = None, progress: bool = False) -> Lake:
    """`since`: how far back `backfill` looks. *Raises* `DomainError` where a folder is not usable, `UnknownDomain`."""
    chosen = chosen_domains(settings, domain)
    of = {one.name: one for one in chosen}
    spark = session.build(settings)
    bucket, rows, steps = Bucket.of(settings), settings.lake_commit_rows, Progress(progress)
    reports = Reports(spark, bucket, kafka_alerts(settings.kafka))
    bronze, silver, gold = layers(settings, spark, reports, say)
    lookups = Lookups(spark, say)
    agree = Agree(spark, settings.redis_url, say)
    quality = Quality(spark, suite.judged, reports.publish, wall_ms, say)
    export = Export(spark, settings.postgres_url, rows, say)
    backfill = Backfill(spark, bucket, rows, since, say, steps.tell)
    compact = Compact(spark, say, steps.tell)
    drop = Drop(spark, {"bronze": settings.lake_bronze_days, "silver": settings.lake_silver_days}, say)
    expire = Expire(spark, drop, settings.lake_snapshot_hours, wall_ms, say, steps.tell)
    orphans = Orphans(spark, settings.warehouse, bucket.name, settings.lake_orphan_hours, wall_ms, say, steps.tell)
    jobs: dict[str, Job] = {
        "bronze": lambda event, partitions: {"commits": bronze.run(event, partitions)},
        "silver": lambda event, _: {"commits": silver.run(event)},
        "gold": lambda event, _: {"commits": gold.run(event)},
        "lookups": lambda event, _: {"tables": lookups.run(of[event.contract.domain])},
        "correct": Correct(agree, to_kafka(settings.kafka), say).run,
        "quality": lambda event, _: quality.run(event),
        "export": lambda event, _: export.run(of[event.contract.domain], event),
        "backfill": lambda event, _: backfill.run(event),
        "compact": lambda event, _: compact.run(event),
        "expire": lambda event, _: expire.run(event),
        "orphans": lambda event, _: orphans.run(event),
    }
    return Lake(spark, chosen, jobs, agree.run, partial(ends, settings), steps)


def layers(settings: LakeSettings, spark: SparkSession, reports: Reports, say: Say) -> tuple[Bronze, Silver, Gold]:
    """The jobs that both runs and the stream are made of."""
    rows = settings.lake_commit_rows
    gate = Gate(spark, rows, reports.publish, wall_ms, say)
    return Bronze(spark, Bucket.of(settings), rows, say), Silver(spark, rows, say, gate), Gold(spark, say)


def write_quality_docs(settings: LakeSettings, folder: Path, most: int, domain: str | None = None) -> Path:
    """Pages about the newest reports of each event, `most` of each kind. Needs no Spark. Returns the first page.

    *Raises* as `build`; `Transient` where the store does not answer.
    """
    events = [event.contract.name for one in chosen_domains(settings, domain) for event in one.events]
    bucket = Bucket.of(settings)
    found = [report for event in events for source in SOURCES for report in stored(bucket, event, source, most)]
    return suite.documented(found, folder)


def chosen_domains(settings: LakeSettings, domain: str | None) -> list[Domain]:
    """*Raises* `DomainError`, `UnknownDomain`."""
    domains = load_domains(settings.domain_folders)
    if domain is not None and domain not in {d.name for d in domains}:
        raise UnknownDomain(f"there is no domain {domain!r}; there are: {', '.join(d.name for d in domains)}")
    return [d for d in domains if domain in (None, d.name)]
