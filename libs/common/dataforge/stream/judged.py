"""The judged log: its record headers, and the acceptance fold every reader applies.

*Source*: docs/specs/log.md (DESIGN R4).
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple
from zlib import crc32

from dataforge.errors import Fatal
from dataforge.stream.records import Record

HEADER = "df"
REASON = "reason"
TRACEPARENT = "traceparent"
WARNINGS = "warnings"

_PACKED = struct.Struct(">BqqqII16s")
_SIZE, _unpack = _PACKED.size, _PACKED.unpack
_LAYOUT = 1


class Verdict(IntEnum):
    VALID = 0
    QUARANTINED = 1
    UNDECODABLE = 2


_VERDICTS = {v.value << 4 | _LAYOUT: v for v in Verdict}
VALID_TAG = Verdict.VALID << 4 | _LAYOUT

Packed = tuple[int, int, int, int, int, int, bytes]
"""(tag, src, base, ts, contract, crc, topic id): a stamp as it lies in the header."""


class Stamp(NamedTuple):
    """What quality-worker adds to a raw record when it copies it to `judged`."""

    verdict: Verdict
    src: int
    """Offset of the raw record."""
    base: int
    """Previous raw offset the judge read, plus one: where this record's claim on the log begins."""
    ts: int
    """Append time of the raw record, ms since the epoch. The only "now" that counting knows."""
    contract: int
    """Fingerprint (crc32) of the contract that judged it."""
    crc: int
    """crc32 of the raw value: with `ts` the fingerprint that notices a replaced log."""
    topic_id: bytes
    """Kafka's id of the raw topic, 16 bytes; zeros where the log has none."""

    def pack(self) -> bytes:
        """Layout: version and verdict in one byte, src, base, ts (i64), contract, crc (u32), topic id."""
        return _PACKED.pack(self.verdict << 4 | _LAYOUT, *self[1:])


def fingerprint(value: bytes | None) -> int:
    return crc32(value or b"")


def unpack(headers: Sequence[tuple[str, bytes]]) -> Stamp:
    """Read a judged record's stamp. *Raises* `Fatal` where the record was not written by a judge."""
    tag, src, base, ts, contract, crc, topic_id = packed(headers)
    return Stamp(_VERDICTS[tag], src, base, ts, contract, crc, topic_id)


def packed(headers: Sequence[tuple[str, bytes]]) -> Packed:
    """As `unpack`, for the loop that every record goes through: `VALID_TAG`, or `verdict_of` its first."""
    for name, value in headers:
        if name == HEADER and len(value) == _SIZE and (found := _unpack(value))[0] in _VERDICTS:
            return found  # pyright: ignore[reportReturnType] - the layout's
    raise Fatal(
        "a record on a judged topic has no valid 'df' header: only quality-worker may write there; "
        "find the other producer, then recreate the topic"
    )


def verdict_of(tag: int) -> Verdict:
    return _VERDICTS[tag]


def reason_of(headers: Sequence[tuple[str, bytes]]) -> str:
    return next((v.decode() for k, v in headers if k == REASON), "")


@dataclass(slots=True)
class Acceptance:
    """The fold that makes zombies, repeats, late and expired sends harmless.

    *Guarantees*: fed a partition of `judged` in offset order, every reader accepts the same records,
    exactly one per raw record. `next` is in raw offsets and is stored with the reader's output.
    """

    next: int = 0

    def accepts(self, base: int, src: int) -> bool:
        """True where the record is the first and gapless verdict for its raw record, by its stamp."""
        if base <= self.next <= src:
            self.next = src + 1
            return True
        return False

    def gap(self, stamp: Stamp) -> bool:
        """True where the record claims a log position this reader never saw. Persisting, it is an alert."""
        return stamp.base > self.next

    def accepted(self, records: Iterable[Record]) -> Iterator[tuple[Record, Stamp]]:
        for record in records:
            stamp = unpack(record.headers)
            if self.accepts(stamp.base, stamp.src):
                yield record, stamp
