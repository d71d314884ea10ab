"""Small files of one day made one, rows that were updated written without what they replaced."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any, NamedTuple

from pyspark.sql import Row, SparkSession

from dataforge.contracts.model import EventType

from lake import tables
from lake.conflict import again
from lake.procedure import call
from lake.progress import Tell
from lake.schema import quoted

_MIB = 2**20
_FILE_BYTES = 128 * _MIB
"""What a file should have. Those of three quarters of it are left alone."""
_SMALL_BYTES = _FILE_BYTES * 3 // 4
_AT_ONCE_BYTES = 1024 * _MIB
"""What is sorted at once at most."""
_MANIFEST_BYTES = 8 * _MIB
_ALL = {
    "rewrite-all": "true",
    # Once no file of the partition is older than a delete, the delete falls on nothing, and goes. Iceberg's procedure
    # for files of deletes fails (1.10) where a table has a column of arrays.
    "remove-dangling-deletes": "true",
    # So the files must count as new. What is deleted meanwhile is not lost by that: the rewrite is then refused.
    "use-starting-sequence-number": "false",
}


class Due(NamedTuple):
    """A partition that is to be rewritten."""

    where: str
    """SQL: its rows."""
    updated: bool
    """It has deletes, so all of it is rewritten."""


@dataclass(frozen=True, slots=True)
class Compact:
    """*Guarantees*: a table's rows stay what they are, and so does its position: no commit of this job says one. Each
    partition is a commit of its own: one that meets a writer's is refused and done again, the others stand.
    """

    spark: SparkSession
    say: Callable[[str], None]
    tell: Tell

    def run(self, event: EventType) -> dict[str, int]:
        """Returns data files gone and come, files of deletes gone, manifests gone."""
        did = Counter({"files rewritten": 0, "files written": 0, "delete files removed": 0, "manifests rewritten": 0})
        for layer, table in tables.kept(event).items():
            if tables.exists(self.spark, table):
                self._compact(layer, table, did)
        return dict(did)

    def _compact(self, layer: str, table: tables.Table, did: Counter[str]) -> None:
        due = self._due(table)
        for done, part in enumerate(due):
            self.tell(layer, done, len(due))
            found = again(partial(self._rewrite, table, part), self.say)
            did["files rewritten"] += found["rewritten_data_files_count"]
            did["files written"] += found["added_data_files_count"]
            did["delete files removed"] += found["removed_delete_files_count"]
            self.say(f"{layer}: {found['rewritten_data_files_count']} files of {part.where}")
        self.tell(layer, len(due), len(due))
        did["manifests rewritten"] += again(partial(self._manifests, table), self.say)

    def _due(self, table: tables.Table) -> list[Due]:
        """The partitions worth it."""
        small = f"count_if(content = 0 AND file_size_in_bytes < {_SMALL_BYTES})"
        parts = self.spark.sql(
            f"SELECT partition, {small} AS small, count_if(content <> 0) AS deletes FROM {table.name}.files "  # noqa: S608
            "GROUP BY partition"
        )
        return worth_it(parts.collect())

    def _rewrite(self, table: tables.Table, due: Due) -> Row:
        options = {
            "min-input-files": "2",
            "target-file-size-bytes": str(_FILE_BYTES),
            "max-file-group-size-bytes": str(_AT_ONCE_BYTES),
            **(_ALL if due.updated else {}),
        }
        return call(self.spark, "rewrite_data_files", table, strategy="sort", where=due.where, options=options)[0]

    def _manifests(self, table: tables.Table) -> int:
        sizes = [row["length"] for row in self.spark.table(f"{table.name}.manifests").select("length").collect()]
        if not too_many(sizes):
            return 0
        return call(self.spark, "rewrite_manifests", table)[0]["rewritten_manifests_count"]


def worth_it(parts: Iterable[Row]) -> list[Due]:
    """The partitions that have two small files or a file of deletes, in order. Pure."""
    found = [row for row in parts if row["small"] > 1 or row["deletes"]]
    return sorted(Due(clause(row["partition"].asDict()), row["deletes"] > 0) for row in found)


def clause(partition: Mapping[str, Any]) -> str:
    """SQL: the rows of one partition. Pure."""
    # A file from before the table was partitioned otherwise has no value for a newer field.
    return " AND ".join(_equals(field, value) for field, value in partition.items() if value is not None) or "true"


def _equals(field: str, value: Any) -> str:
    if not isinstance(value, date):
        return f"{quoted(field)} = {value}"
    column = field.removesuffix("_day")  # Iceberg calls days(ts) ts_day
    if column == field:
        return f"{field} = DATE'{value}'"
    return f"{column} >= TIMESTAMP'{value}' AND {column} < TIMESTAMP'{value + timedelta(days=1)}'"


def too_many(manifests: Iterable[int]) -> bool:
    """By the bytes of each: more than twice as many as needed. Pure."""
    sizes = list(manifests)
    return len(sizes) > 2 * max(1, -(-sum(sizes) // _MANIFEST_BYTES))
