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
from lake.jobs.correct import Correct, to_kafka
from lake.jobs.gold import Gold
from lake.jobs.silver import Silver
from lake.judge import Agreement
from lake.landing import Bucket
from lake.settings import LakeSettings
from lake.status import TableStatus, status

Did = dict[str, int]
"""What a job did, in numbers of its own: `{"commits": 3}`."""

Job = Callable[[EventType, int], Did]
"""(event, its partitions) -> what was done."""

JOBS = ("bronze", "silver", "gold", "correct")
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

    def run(self, job: str) -> dict[str, dict[str, Did]]:
        """A job, or every layer's, for every event. Returns event -> job -> what it did."""
        names = LAYERS if job == ALL else (job,)
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
    agree = Agree(spark, settings.redis_url, say)
    jobs: dict[str, Job] = {
        "bronze": lambda event, partitions: {"commits": bronze.run(event, partitions)},
        "silver": lambda event, _: {"commits": silver.run(event)},
        "gold": lambda event, _: {"commits": gold.run(event)},
        "correct": Correct(agree, to_kafka(settings.kafka), say).run,
    }
    return Lake(spark, chosen, jobs, agree.run)
