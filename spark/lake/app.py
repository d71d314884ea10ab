"""The lake's wiring: which job does what for which events. Everything a job needs comes in here."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyspark.sql import SparkSession

from dataforge.contracts.load import load_domains
from dataforge.contracts.model import Domain, EventType
from dataforge.errors import DataForgeError

from lake import session
from lake.jobs.agree import Agree
from lake.jobs.bronze import Bronze
from lake.jobs.export import Export
from lake.jobs.gold import Gold
from lake.jobs.lookups import Lookups
from lake.jobs.silver import Silver
from lake.judge import Agreement
from lake.landing import Bucket
from lake.settings import LakeSettings
from lake.status import TableStatus, status

Did = dict[str, int]
"""What a job did, in numbers of its own: `{"commits": 3}`."""

Job = Callable[[EventType, int], Did]
"""(event, its partitions) -> what was done."""

JOBS = ("bronze", "silver", "gold", "lookups", "export")
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
        return status(self.spark, self.domains)


def build(settings: LakeSettings, domain: str | None = None) -> Lake:
    """*Raises* `DomainError` where a folder is not usable, `UnknownDomain`."""
    domains = load_domains(settings.domain_folders)
    if domain is not None and domain not in {d.name for d in domains}:
        raise UnknownDomain(f"there is no domain {domain!r}; there are: {', '.join(d.name for d in domains)}")
    chosen = [d for d in domains if domain in (None, d.name)]
    spark = session.build(settings)
    bronze = Bronze(spark, Bucket.of(settings), settings.lake_commit_rows, say)
    silver = Silver(spark, settings.lake_commit_rows, say)
    gold = Gold(spark, say)
    of = {one.name: one for one in chosen}
    lookups = Lookups(spark, say)
    export = Export(spark, settings.postgres_url, settings.lake_commit_rows, say)
    jobs: dict[str, Job] = {
        "bronze": lambda event, partitions: {"commits": bronze.run(event, partitions)},
        "silver": lambda event, _: {"commits": silver.run(event)},
        "gold": lambda event, _: {"commits": gold.run(event)},
        "lookups": lambda event, _: {"tables": lookups.run(of[event.contract.domain])},
        "export": lambda event, _: export.run(of[event.contract.domain], event),
    }
    return Lake(spark, chosen, jobs, Agree(spark, settings.redis_url, say).run)
