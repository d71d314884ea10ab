"""Landing objects of a judged topic to bronze: one row per raw record, by the acceptance fold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pyspark.sql import DataFrame, SparkSession

from dataforge.contracts.model import EventType
from dataforge.errors import Fatal

from lake import commit, objects, tables
from lake.conflict import again
from lake.landing import Bucket, Landed, next_objects
from lake.position import Head, Place, beyond, head
from lake.schema import quoted
from lake.transforms.accept import Run, accepted, folded, runs
from lake.transforms.bronze import bronze_rows
from lake.transforms.stamp import placed, stamped

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Bronze:
    """*Guarantees*: each accepted record is one row, whatever ends a run and however often it is run again: rows and
    position are one commit, and a commit is refused, and done again from there, where another writer has moved the
    table since.
    """

    spark: SparkSession
    bucket: Bucket
    commit_rows: int
    say: Say

    def run(self, event: EventType, partitions: int) -> int:
        """Take all that is landed. Returns how many commits it took. *Raises* `Fatal`, `Transient`."""
        table = tables.bronze(event.contract)
        tables.ensure(self.spark, table)
        commits = 0
        while again(partial(self._next, event, table, partitions), self.say):
            commits += 1
        return commits

    def _next(self, event: EventType, table: tables.Table, partitions: int) -> bool:
        """One commit; False where nothing is left to take."""
        now = head(self.spark, table)
        places = [now.at(partition) for partition in range(partitions)]
        landed = next_objects(self.bucket, event.contract.judged_topic, places, self.commit_rows)
        if landed:
            self._take(event, table, now, landed)
            self.say(f"{table.name}: {sum(one.footer.count for one in landed):,} records of {len(landed)} objects")
        return bool(landed)

    def _take(self, event: EventType, table: tables.Table, now: Head, landed: Sequence[Landed]) -> None:
        keys = [one.key for one in landed]
        # Read twice: stamps alone are small, and what the fold rejects is nearly always nothing.
        following = {partition: place.next for partition, place in now.places.items()}
        stamps = placed(objects.records(self.spark, self.bucket, keys, objects.STAMPS))
        found = runs(folded(stamps, following))
        for run in found:
            if run.gap is not None:
                self.say(f"{table.name}: judged {run.partition}/{run.gap} claims raw offsets nobody has judged")
        moved = places_after(landed, found)
        rows = self._rows(event, keys, found)
        positions = {partition: now.at(partition).position for partition in moved}
        where = beyond(positions, quoted("partition"), "judged_offset")
        commit.overwrite(rows, table, where, now, {**now.places, **moved})

    def _rows(self, event: EventType, keys: Sequence[str], found: Sequence[Run]) -> DataFrame:
        judged = objects.records(self.spark, self.bucket, keys)
        return bronze_rows(stamped(accepted(judged, found)), event.contract)


def places_after(landed: Sequence[Landed], found: Sequence[Run]) -> dict[int, Place]:
    """Where each partition stands once these objects are taken.

    *Raises* `Fatal` where landing-worker, which folded the same records, came to another end.
    """
    last = {one.footer.partition: one for one in landed}
    following = {run.partition: run.next for run in found}
    for partition, one in last.items():
        said = one.footer.accepted_next
        if said is not None and said != following[partition]:
            raise Fatal(
                f"{one.key}: landing-worker accepted up to raw offset {said}, the lake to {following[partition]}"
            )
    return {
        partition: Place(one.footer.next, following[partition], one.footer.topic_id) for partition, one in last.items()
    }
