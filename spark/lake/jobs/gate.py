"""The gate of silver's writes: which rows break a rule, kept beside silver, and how many, by rule.

No row is held back from silver: the live numbers have counted it, and nobody judges again (DESIGN R4). What fails is
in the quarantine table too, with the names of the rules.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.model import EventType
from dataforge.errors import Transient
from dataforge.quality.report import Finding, Report, decode, encode, status_of

from lake import commit, tables
from lake.jobs.silver import at, portion
from lake.position import Head, Place, beyond, head, within
from lake.schema import CHECKED, FAILED, quoted
from lake.transforms.checks import RowCheck, checked, fails, row_checks
from lake.transforms.typed import typed

PROPERTY = "df.gate"
"""Of a snapshot of the quarantine table: the report on the write, without its time and snapshot."""
LEAST_ROWS = 1_000
"""A share of fewer rows says little: where not every row must hold, a smaller write is only counted."""


@dataclass(frozen=True, slots=True)
class Gate:
    """*Guarantees*: the quarantine table has, once, every valid record of bronze up to its position that broke a rule
    of its day. Rows, position and the report on them are one commit, which is made before silver's: killed between
    the two and run again, silver goes on alone up to there. A report that could not be published is published before
    the next commit.
    """

    spark: SparkSession
    commit_rows: int
    publish: Callable[[EventType, Report], None]
    clock_ms: Callable[[], int]
    say: Callable[[str], None]

    def catch_up(self, event: EventType, bronze: Head, silver: Head) -> None:
        """Look at what silver took without it: before there were rules, or while alerts could not be written."""
        checks, table = row_checks(event), tables.quarantine(event.contract)
        if not checks:
            return
        tables.ensure(self.spark, table)
        while self._published(event, table):
            now = head(self.spark, table)
            ends = portion(now, silver, self.commit_rows)
            if not ends:
                return
            where = within({p: now.at(p).position for p in ends}, ends, quoted("partition"), "judged_offset")
            log = at(self.spark, tables.bronze(event.contract), bronze)
            rows = typed(log.where(f"({where}) AND verdict = 'valid'"), event.contract)
            marked = checked(rows, event.contract, checks).persist(StorageLevel.MEMORY_AND_DISK)
            try:
                self._commit(table, checks, marked, now, ends, event)
            finally:
                marked.unpersist()

    @contextmanager
    def through(
        self, event: EventType, rows: DataFrame, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> Iterator[DataFrame]:
        """`rows`: the typed valid ones of these portions of the judged log. They are made once, for both tables."""
        checks, table = row_checks(event), tables.quarantine(event.contract)
        if not checks:
            yield rows
            return
        now = head(self.spark, table)
        follows = all(now.at(p).position >= start for p, start in starts.items())
        new = {p: end for p, end in ends.items() if end > now.at(p).position}
        if not (new and follows and self._published(event, table)):
            yield rows
            return
        marked = checked(rows, event.contract, checks).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            self._commit(table, checks, marked, now, new, event)
            self._published(event, table)
            yield marked.drop(FAILED.name)
        finally:
            marked.unpersist()

    def _commit(
        self, table: tables.Table, checks: Sequence[RowCheck], marked: DataFrame, now: Head, ends: Mapping[int, int],
        event: EventType,
    ) -> None:  # fmt: skip
        positions = {p: now.at(p).position for p in ends}
        new = marked.where(within(positions, ends, "df_partition", "df_judged_offset"))
        report = _report(event, checks, new)
        checked_at = F.timestamp_millis(F.lit(self.clock_ms()))
        failed = new.where(F.size(FAILED.name) > 0).withColumn(CHECKED.name, checked_at)
        places = {**now.places, **{p: Place(end) for p, end in ends.items()}}
        where = beyond(positions, "df_partition", "df_judged_offset")
        commit.overwrite(failed, table, where, now, places, {PROPERTY: encode(report).decode()})

    def _published(self, event: EventType, table: tables.Table) -> bool:
        """Whether the newest commit's report is, by now, where people read it."""
        report = self._newest(table)
        if report is None:
            return True
        try:
            self.publish(event, report)
        except Transient as error:
            self.say(f"{table.name}: silver goes on without its gate, which catches up in a later run: {error}")
            return False
        return True

    def _newest(self, table: tables.Table) -> Report | None:
        said = f"summary['{PROPERTY}']"
        rows = self.spark.sql(
            f"SELECT snapshot_id, {said} AS said, unix_millis(committed_at) AS at_ms "  # noqa: S608 - our own names
            f"FROM {table.name}.snapshots WHERE {said} IS NOT NULL ORDER BY committed_at DESC LIMIT 1"
        ).collect()
        if not rows:
            return None
        [row] = rows
        report = decode(row["said"].encode())
        return msgspec.structs.replace(report, at_ms=row["at_ms"], snapshot=row["snapshot_id"])


def _report(event: EventType, checks: Sequence[RowCheck], rows: DataFrame) -> Report:
    """Makes the rows, and counts them."""
    asked = [F.count(F.when(check.asked(), 1)) for check in checks]
    failed = [F.count(F.when(fails(check), 1)) for check in checks]
    [row] = rows.agg(F.count(F.lit(1)), *asked, *failed).collect()
    counts = zip(checks, row[1 : 1 + len(checks)], row[1 + len(checks) :], strict=True)
    findings = [finding(check, of, bad) for check, of, bad in counts]
    return Report(event=event.contract.name, source="gate", at_ms=0, snapshot=0, rows=row[0], findings=findings)


def finding(check: RowCheck, rows: int, failed: int) -> Finding:
    """Pure."""
    share = (rows - failed) / rows if rows else None
    judged = check.least is not None and (check.least == 1 or rows >= LEAST_ROWS)
    return Finding(
        name=check.name, kind=check.kind, severity=check.severity, observed=share, least=check.least, rows=rows,
        failed=failed, why=check.why, status=status_of(share, check.least, None) if judged else "unknown",
    )  # fmt: skip
