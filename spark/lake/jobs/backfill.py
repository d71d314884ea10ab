"""What a table lacks, found and filled: bronze by the ledger of what landed, silver by bronze, gold by silver."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

from pyspark.sql import SparkSession

from dataforge.contracts.model import EventType

from lake import tables
from lake.conflict import again
from lake.gaps.bronze import bronze_gaps
from lake.gaps.compare import Gaps, portions
from lake.gaps.gold import gold_gaps
from lake.gaps.silver import silver_gaps
from lake.landing import Bucket
from lake.position import head
from lake.progress import Tell
from lake.retention import kept_from
from lake.when import midnight_ms

Find = Callable[[], Gaps[Any]]


@dataclass(frozen=True, slots=True)
class Backfill:
    """*Guarantees*: what is whole is not touched, and no position moves, so the layers' own jobs may run meanwhile:
    where they change a part since its gap was found, gaps are looked for again. Killed at any moment and run again, it
    fills what is left.
    """

    spark: SparkSession
    bucket: Bucket
    commit_rows: int
    since: date | None
    """Looks no further back; what is older is taken as it is. None: all of it."""
    say: Callable[[str], None]
    tell: Tell

    def run(self, event: EventType) -> dict[str, int]:
        """Returns commits, and for each part made anew the rows it has now: `bronze 0/2026-01-05T23` (partition, hour),
        `silver 2026-01-05`, `gold 2026-01-05`. *Raises* `Fatal`, `Transient`.
        """
        finds: dict[str, Callable[[int], Gaps[Any]]] = {
            "bronze": partial(bronze_gaps, self.spark, self.bucket, event),
            "silver": partial(silver_gaps, self.spark, event),
            "gold": partial(gold_gaps, self.spark, event),
        }
        did = {"commits": 0}
        since = self.since or date(1970, 1, 1)
        for layer, table in tables.of(event).items():
            if not tables.exists(self.spark, table) or head(self.spark, table).snapshot is None:
                break  # and nothing was made of it
            # What was dropped on purpose is missing from all that is made of it.
            since = max(since, kept_from(self.spark, table))
            again(partial(self._fill, layer, partial(finds[layer], midnight_ms(since)), did), self.say)
        return did

    def _fill(self, layer: str, find: Find, did: dict[str, int]) -> None:
        """*Guarantees*: `did` names what was committed, also where a later commit is refused."""
        gaps = find()
        for part, (has, due) in gaps.rows.items():
            self.say(f"{layer} {gaps.name(part)}: {has:,} rows, and {due:,} are due")
        filled = 0
        self.tell(layer, filled, len(gaps.rows))
        for some in portions(gaps.rows, self.commit_rows):
            gaps.fill(some)
            did |= {f"{layer} {gaps.name(part)}": gaps.rows[part][1] for part in some}
            did["commits"] += 1
            filled += len(some)
            self.tell(layer, filled, len(gaps.rows))
