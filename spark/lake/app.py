"""The lake's wiring: which job does what for which events. Everything a job needs comes in here."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from pyspark.sql import SparkSession

from dataforge.contracts.load import load_domains
from dataforge.contracts.model import Domain, EventType
from dataforge.errors import DataForgeError

from lake import session
from lake.jobs.agree import Agree
from lake.jobs.backfill import Backfill
from lake.jobs.bronze import Bronze
from lake.jobs.compact import Compact
from lake.jobs.drop import Drop
from lake.jobs.expire import Expire
from lake.jobs.gold import Gold
from lake.jobs.orphans import Orphans
from lake.jobs.silver import Silver
from lake.judge import Agreement
from lake.landing import Bucket
from lake.progress import Progress
from lake.settings import LakeSettings
from lake.status import TableStatus, status

Did = dict[str, int]
"""What a job did, in numbers of its own: `{"commits": 3}`."""

Job = Callable[[EventType, int], Did]
"""(event, its partitions) -> what was done."""

JOBS = ("bronze", "silver", "gold", "backfill", "compact", "expire", "orphans")
ALL = "all"
LAYERS = ("bronze", "silver", "gold")
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
    progress: Progress

    def run(self, job: str) -> dict[str, dict[str, Did]]:
        """A job, or every layer's, for every event. Returns event -> job -> what it did."""
        names = LAYERS if job == ALL else (job,)
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
        return status(self.spark, self.domains)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def build(settings: LakeSettings, domain: str | None = None, since: date | None = None, progress: bool = False) -> Lake:
    """`since`: how far back `backfill` looks. *Raises* `DomainError` where a folder is not usable, `UnknownDomain`."""
    domains = load_domains(settings.domain_folders)
    if domain is not None and domain not in {d.name for d in domains}:
        raise UnknownDomain(f"there is no domain {domain!r}; there are: {', '.join(d.name for d in domains)}")
    chosen = [d for d in domains if domain in (None, d.name)]
    spark = session.build(settings)
    bucket, rows, steps = Bucket.of(settings), settings.lake_commit_rows, Progress(progress)
    bronze = Bronze(spark, bucket, rows, say)
    silver = Silver(spark, rows, say)
    gold = Gold(spark, say)
    backfill = Backfill(spark, bucket, rows, since, say, steps.tell)
    compact = Compact(spark, say, steps.tell)
    drop = Drop(spark, {"bronze": settings.lake_bronze_days, "silver": settings.lake_silver_days}, say)
    expire = Expire(spark, drop, settings.lake_snapshot_hours, now_ms, say, steps.tell)
    orphans = Orphans(spark, settings.warehouse, bucket.name, settings.lake_orphan_hours, now_ms, say, steps.tell)
    jobs: dict[str, Job] = {
        "bronze": lambda event, partitions: {"commits": bronze.run(event, partitions)},
        "silver": lambda event, _: {"commits": silver.run(event)},
        "gold": lambda event, _: {"commits": gold.run(event)},
        "backfill": lambda event, _: backfill.run(event),
        "compact": lambda event, _: compact.run(event),
        "expire": lambda event, _: expire.run(event),
        "orphans": lambda event, _: orphans.run(event),
    }
    return Lake(spark, chosen, jobs, Agree(spark, settings.redis_url, say).run, steps)
