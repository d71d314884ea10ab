"""Days that need not be kept any longer, snapshots that nobody travels back to, the files that only they need."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from pyspark.sql import SparkSession

from dataforge.contracts.model import EventType

from lake import tables
from lake.conflict import again
from lake.jobs.drop import Drop
from lake.position import Snapshot, kept, lineage
from lake.procedure import Instant, call
from lake.progress import Tell
from lake.when import HOUR_MS


@dataclass(frozen=True, slots=True)
class Expire:
    """*Guarantees*: the newest snapshot that says the table's position stays, and all that came after it; what a kept
    snapshot needs stays. Killed between the commit and the removal of files, it leaves orphans.
    """

    spark: SparkSession
    drop: Drop
    keep_hours: float
    now_ms: Callable[[], int]
    say: Callable[[str], None]
    tell: Tell

    def run(self, event: EventType) -> dict[str, int]:
        """Returns rows dropped, snapshots expired and files removed."""
        did = {"rows": self.drop.run(event), "snapshots": 0, "files": 0}
        of = [(name, table) for name, table in tables.kept(event).items() if tables.exists(self.spark, table)]
        for done, (name, table) in enumerate(of):
            self.tell("tables", done, len(of))
            snapshots, files = again(partial(self._expire, table, positioned=name != "results"), self.say)
            did["snapshots"] += snapshots
            did["files"] += files
            self.say(f"{table.name}: {snapshots} snapshots, {files} files")
        self.tell("tables", len(of), len(of))
        return did

    def _expire(self, table: tables.Table, *, positioned: bool) -> tuple[int, int]:
        line, cut_ms = lineage(self.spark, table), self.now_ms() - int(self.keep_hours * HOUR_MS)
        before = oldest_kept(line, cut_ms) if positioned else cut_ms
        if before is None or not (due := self._older(table, before)):
            return 0, 0
        removed = call(
            self.spark, "expire_snapshots", table, older_than=Instant(before), retain_last=1, stream_results=True
        )[0]
        return len(due - self._older(table, before)), sum(count or 0 for count in removed)

    def _older(self, table: tables.Table, than_ms: int) -> set[int]:
        return {one.id for one in kept(self.spark, table) if one.at_ms < than_ms}


def oldest_kept(line: Iterable[Snapshot], cut_ms: int) -> int | None:
    """Snapshots before this instant may go; None: none may. `line` as `lineage` gives it. Pure.

    Iceberg goes back from the current snapshot and stops at the first that is older: so the instant is not after any
    of those down to the one that says the position, also where clocks of two writers differ.
    """
    needed = _down_to_position(line)
    return min([cut_ms, *(one.at_ms for one in needed)]) if needed else None


def _down_to_position(line: Iterable[Snapshot]) -> list[Snapshot]:
    """The newest snapshot that says a position, and those after it; empty where none does."""
    found: list[Snapshot] = []
    for one in line:
        found.append(one)
        if one.said:
            return found
    return []
