"""A judged topic to bronze, from its landing objects or from any other frame of it: one row per raw record, by the
acceptance fold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from pyspark.sql import DataFrame, SparkSession

from dataforge.contracts.model import EventType
from dataforge.errors import Fatal

from lake import commit, objects, tables
from lake.conflict import again
from lake.failures import named
from lake.landing import Bucket, Landed, next_objects
from lake.position import Head, Place, beyond, head, since
from lake.schema import quoted
from lake.transforms.accept import Run, accepted, folded, folded_in_order, is_broken, runs, unbroken
from lake.transforms.bronze import bronze_rows
from lake.transforms.stamp import packed, placed, stamped

Say = Callable[[str], None]
Records = Callable[[Mapping[str, str]], DataFrame]
"""Some columns of `objects.JUDGED` -> judged records with these. Called twice, for the same records."""


class Broken(Exception):
    """Of these records the fold may not accept all."""


class Part(NamedTuple):
    """What is to be taken of one partition: every record from where bronze stands up to, and without, `end`."""

    end: int
    topic_id: str
    source: str
    """Where they are from, for people."""
    accepted_next: int | None = None
    """What the acceptance fold must come to, where somebody has folded them before."""
    records: int | None = None
    """How many there must be, where that is known."""


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
        tables.ensure(self.spark, tables.bronze(event.contract))
        commits = 0
        while again(partial(self.landed, event, partitions), self.say):
            commits += 1
        return commits

    def landed(self, event: EventType, partitions: int) -> dict[int, Place]:
        """Take the next of what is landed, in one commit. Returns where the partitions that moved stand now.

        *Raises* `Fatal`, `Transient`, `Refused`.
        """
        table = tables.bronze(event.contract)
        with named():
            now = head(self.spark, table)
            places = [now.at(partition) for partition in range(partitions)]
            found = next_objects(self.bucket, event.contract.judged_topic, places, self.commit_rows)
            if not found:
                return {}
            keys, parts = [one.key for one in found], parts_of(found)
            where = beyond({p: now.at(p).position for p in parts}, quoted("partition"), quoted("offset"))

            def records(columns: Mapping[str, str]) -> DataFrame:
                whole = objects.records(self.spark, self.bucket, keys, columns)
                return whole if all(aligned(one, now) for one in found) else whole.where(where)

            moved = self.take(event, now, parts, records)
            self.say(f"{table.name}: {sum(one.footer.count for one in found):,} records of {len(found)} objects")
            return moved

    def take(
        self, event: EventType, now: Head, parts: Mapping[int, Part], records: Records, *, in_order: bool = False
    ) -> dict[int, Place]:
        """Commit these records; `now` is bronze as they follow it. Returns where their partitions stand then.

        `in_order`: each task of the frames has all of one partition's records, in their order.
        """
        table = tables.bronze(event.contract)
        # Read twice: stamps alone are small, and what the fold rejects is nearly always nothing.
        following = {partition: place.next for partition, place in now.places.items()}
        stamps = records(objects.STAMPS)
        found = runs(folded_in_order(packed(stamps), following) if in_order else folded(placed(stamps), following))
        for run in found:
            if run.gap is not None:
                self.say(f"{table.name}: judged {run.partition}/{run.gap} claims raw offsets nobody has judged")
        moved = places_after(now, parts, found)
        self._commit(event, now, moved, placed(accepted(records(objects.JUDGED), found)), in_order)
        return moved

    def take_unbroken(
        self, event: EventType, now: Head, parts: Mapping[int, Part], judged: DataFrame
    ) -> dict[int, Place]:
        """As `take` of records in their order, all of which the fold accepts: they are read once. Of each part the
        last record must be there, and nobody else may have folded or counted it: that is compared with nothing.

        *Raises* `Broken` where it does not accept all: nothing was committed, `take` them.
        """
        starts, following = {p: now.at(p).position for p in parts}, {p: now.at(p).next for p in parts}
        moved = {p: Place(part.end, following[p] + part.end - starts[p], part.topic_id) for p, part in parts.items()}
        rows = unbroken(packed(judged), starts, following)
        try:
            self._commit(event, now, moved, rows, in_order=True)
        except Exception as error:
            if is_broken(error):
                raise Broken from error
            raise
        return moved

    def _commit(
        self, event: EventType, now: Head, moved: Mapping[int, Place], records: DataFrame, in_order: bool
    ) -> None:
        # Of every partition: the position that is committed is the whole table's, so a commit of others refuses it too.
        where = since(now, quoted("partition"), "judged_offset")
        rows = bronze_rows(stamped(records), event.contract)
        commit.overwrite(rows, tables.bronze(event.contract), where, now, {**now.places, **moved}, in_order=in_order)


def parts_of(landed: Sequence[Landed]) -> dict[int, Part]:
    """Of the last object of each partition."""
    return {
        one.footer.partition: Part(one.footer.next, one.footer.topic_id, one.key, one.footer.accepted_next)
        for one in landed
    }


def aligned(one: Landed, now: Head) -> bool:
    """Not cut: all of the object lies at or beyond where the table stands."""
    return one.footer.start >= now.at(one.footer.partition).position


def places_after(now: Head, parts: Mapping[int, Part], found: Sequence[Run]) -> dict[int, Place]:
    """Where each partition stands once these are taken.

    *Raises* `Fatal` where records are missing, or landing-worker, which folded the same, came to another end.
    """
    runs_of = {run.partition: run for run in found}
    places: dict[int, Place] = {}
    for partition, part in parts.items():
        run = runs_of.get(partition)
        following, records = (run.next, run.records) if run else (now.at(partition).next, 0)
        if part.records not in (None, records):
            raise Fatal(
                f"{part.source} brought {records} records where its offsets are {part.records}: it is not the log of "
                "one judge without transactions. Find what else writes there, or compacts it"
            )
        if part.accepted_next not in (None, following):
            raise Fatal(
                f"{part.source}: landing-worker accepted up to raw offset {part.accepted_next}, the lake to {following}"
            )
        places[partition] = Place(part.end, following, part.topic_id)
    return places
