"""Files in a table's folder that no metadata of it names: of jobs that were killed, of commits that were refused."""

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import SparkSession

from dataforge.contracts.model import EventType
from dataforge.errors import Fatal

from lake import tables
from lake.procedure import Instant, call
from lake.progress import Tell
from lake.when import HOUR_MS

LANDING = "landing/"


@dataclass(frozen=True, slots=True)
class Orphans:
    """*Guarantees*: a file that a snapshot needs, or that is younger than `age_hours`, is not touched: a job that is
    writing has files that no metadata names yet. Nothing outside the tables' own folders is looked at.
    """

    spark: SparkSession
    warehouse: str
    bucket: str
    age_hours: float
    now_ms: Callable[[], int]
    say: Callable[[str], None]
    tell: Tell

    def run(self, event: EventType) -> dict[str, int]:
        """Returns files removed. *Raises* `Fatal` where a table is not in the warehouse, or where objects land."""
        removed = 0
        of = [table for table in tables.kept(event).values() if tables.exists(self.spark, table)]
        for done, table in enumerate(of):
            self.tell("tables", done, len(of))
            demand_own(self._location(table), self.warehouse, self.bucket)
            before = Instant(self.now_ms() - int(self.age_hours * HOUR_MS))
            found = call(self.spark, "remove_orphan_files", table, older_than=before, prefix_listing=True)
            removed += len(found)
            self.say(f"{table.name}: {len(found)} files")
        self.tell("tables", len(of), len(of))
        return {"files": removed}

    def _location(self, table: tables.Table) -> str:
        said = self.spark.sql(f"DESCRIBE EXTENDED {table.name}").where("col_name = 'Location'").collect()
        return said[-1]["data_type"]  # a column may have that name too


def demand_own(location: str, warehouse: str, bucket: str) -> None:
    """*Raises* `Fatal` where a table's folder is not the warehouse's own, or shares anything with what landed. Pure."""
    folder, landing = f"{location.rstrip('/')}/", f"s3://{bucket}/{LANDING}"
    if not folder.startswith(f"{warehouse}/") or folder.startswith(landing) or landing.startswith(folder):
        raise Fatal(f"a table is at {location}; files are removed within {warehouse} only, and never of {landing}")
