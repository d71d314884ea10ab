"""Which log a position belongs to, and whether the log that is there now is that one (DESIGN R6b). Pure."""

from typing import NamedTuple
from zlib import crc32

import msgspec

from dataforge.stream.records import Record

NO_ID = bytes(16)
"""A log without topic ids."""


class Mark(msgspec.Struct, frozen=True):
    """Tells a record from another at the same offset of a replaced log."""

    offset: int
    timestamp: int
    crc: int

    @classmethod
    def of(cls, record: Record) -> "Mark":
        return cls(record.offset, record.timestamp, crc32(record.value or b""))


class Origin(NamedTuple):
    """The log that a position was reached in."""

    topic_id: bytes = NO_ID
    last: Mark | None = None
    """The last record before the position, as far as it is remembered."""


class Bounds(NamedTuple):
    """A partition's log as it is now: it holds the offsets from `begin` up to, and without, `end`."""

    topic_id: bytes
    begin: int
    end: int


def same_topic(one: bytes, other: bytes) -> bool:
    """A log without ids could be any."""
    return one == other or NO_ID in (one, other)


def replaced(origin: Origin, position: int, bounds: Bounds, record: Record | None) -> str | None:
    """Why this log is not the one that `position` was reached in; None where nothing speaks against it.

    `record` is the log's own at the offset of `origin.last`; None where it does not hold it.
    """
    if not same_topic(origin.topic_id, bounds.topic_id):
        return f"the topic was recreated: its id is {bounds.topic_id.hex()}, and was {origin.topic_id.hex()}"
    if bounds.end < position:
        return f"the log ends at {bounds.end}, and was read up to {position}"
    if origin.last is not None and record is not None and Mark.of(record) != origin.last:
        return f"the record at {origin.last.offset} is another than the one that was read"
    return None
