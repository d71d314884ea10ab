"""The judged log to bronze as it grows: a portion at a time, from where the table itself says that it stands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pyspark.sql import SparkSession

from dataforge.contracts.model import EventType
from dataforge.errors import Fatal
from dataforge.stream.judged import unpack
from dataforge.stream.origin import NO_ID, Bounds
from dataforge.stream.records import Record

from lake import tables
from lake.failures import named
from lake.jobs.bronze import Broken, Bronze, Part
from lake.log import JudgedLog
from lake.position import Head, Place, head


class Progress(NamedTuple):
    """How far bronze is, after a round. All by partition, in judged offsets."""

    before: Mapping[int, int]
    positions: Mapping[int, int]
    ends: Mapping[int, int]
    """Of the log, as the round began."""

    @property
    def records(self) -> int:
        """That this round took."""
        return sum(self.positions.values()) - sum(self.before.values())

    @property
    def lag(self) -> int:
        return sum(max(0, end - self.positions[partition]) for partition, end in self.ends.items())


@dataclass(frozen=True, slots=True)
class Stream:
    """*Guarantees*: those of `Bronze`; there is no other checkpoint than the table's own position. What the log no
    longer holds is taken from its landing chain. A log that was replaced, or has lost what nobody landed, is refused.
    """

    spark: SparkSession
    bronze: Bronze
    log: JudgedLog
    say: Callable[[str], None]
    ensured: set[str] = field(default_factory=set[str])
    """Tables that this process has made sure of."""

    def take(self, event: EventType, partitions: int) -> Progress:
        """Take what is there now, in one commit of at most about `commit_rows`; none where there is nothing new.

        *Raises* `Fatal`, `Transient`, `Refused`: nothing was committed then.
        """
        table, topic = tables.bronze(event.contract), event.contract.judged_topic
        with named():
            if table.name not in self.ensured:
                tables.ensure(self.spark, table)
                self.ensured.add(table.name)
            now = head(self.spark, table)
            places = {p: now.at(p) for p in range(partitions)}
            bounds = self.log.bounds(topic, places)
            if overtaken(places, bounds):
                moved = self.bronze.landed(event, partitions)
                demand_landed(topic, places, bounds, moved)
            else:
                moved = self._take(event, now, portion(places, bounds, self.bronze.commit_rows), bounds)
        return Progress(
            {p: place.position for p, place in places.items()},
            {p: place.position for p, place in (places | moved).items()},
            {p: bound.end for p, bound in bounds.items()},
        )

    def _take(
        self, event: EventType, now: Head, ends: Mapping[int, int], bounds: Mapping[int, Bounds]
    ) -> dict[int, Place]:
        if not ends:
            return {}
        topic = event.contract.judged_topic
        starts = {p: now.at(p).position for p in ends}
        parts = {
            p: Part(end, _hex(bounds[p].topic_id), f"{topic}/{p} from {starts[p]}", records=end - starts[p])
            for p, end in ends.items()
        }
        whole = self.log.records(topic, starts, ends)
        try:
            demand_unbroken(self.log.last(topic, ends), now)
            moved = self.bronze.take_unbroken(event, now, parts, whole)
        except Broken:  # a killed judge's repeats, or raw offsets that a transaction took
            self.say(f"{event.contract.name}: not one verdict after the other: read twice")
            moved = self.bronze.take(event, now, parts, lambda columns: whole.select(*columns), in_order=True)
        self.say(f"{event.contract.name}: {sum(ends.values()) - sum(starts.values()):,} records of the log")
        return moved


def portion(places: Mapping[int, Place], bounds: Mapping[int, Bounds], rows: int) -> dict[int, int]:
    """Partition -> offset up to which to go next: about `rows` records in all, what is there at most."""
    waiting = {p: bounds[p].end for p, place in places.items() if bounds[p].end > place.position}
    share = max(1, rows // max(1, len(waiting)))
    return {p: min(end, places[p].position + share) for p, end in waiting.items()}


def overtaken(places: Mapping[int, Place], bounds: Mapping[int, Bounds]) -> list[int]:
    """The partitions of which the log no longer holds what comes next."""
    return [p for p, place in places.items() if bounds[p].begin > place.position]


def demand_landed(
    topic: str, before: Mapping[int, Place], bounds: Mapping[int, Bounds], moved: Mapping[int, Place]
) -> None:
    """*Raises* `Fatal` where the chain did not bring what the log has lost, or is another topic's."""
    for p in overtaken(before, bounds):
        if p not in moved:
            raise Fatal(
                f"{topic}/{p}: the log begins at {bounds[p].begin}, and nothing is landed from {before[p].position} "
                "on: what lies between is lost, because the topic's retention is too short. Restore the topic or the "
                "chain; or, to go on without those records, give the event a new version"
            )


def demand_unbroken(last: Mapping[int, Record | None], now: Head) -> None:
    """Do the last records of a portion look as if all of it were the verdicts on consecutive raw records?

    *Raises* `Broken`.
    """
    for p, record in last.items():
        place = now.at(p)
        if record is None or unpack(record.headers).src - place.next != record.offset - place.position:
            raise Broken


def _hex(topic_id: bytes) -> str:
    return "" if topic_id == NO_ID else topic_id.hex()
