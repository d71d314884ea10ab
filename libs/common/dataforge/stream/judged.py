"""The judged log: its record headers, and the acceptance fold every reader applies.

*Source*: docs/specs/log.md (DESIGN R4).
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from dataforge.errors import Fatal
from dataforge.stream.records import Record

HEADER = "df"
REASON = "reason"
TRACEPARENT = "traceparent"
WARNINGS = "warnings"

_PACKED = struct.Struct(">BqqqII16s")
_COLUMNS = np.dtype(
    [("tag", "u1"), ("src", ">i8"), ("base", ">i8"), ("ts", ">i8"), ("contract", ">u4"), ("crc", ">u4"), ("id", "V16")]
)
_SIZE, _unpack = _PACKED.size, _PACKED.unpack
_LAYOUT = 1


class Verdict(IntEnum):
    VALID = 0
    QUARANTINED = 1
    UNDECODABLE = 2


_VERDICTS = {v.value << 4 | _LAYOUT: v for v in Verdict}
VALID_TAG = Verdict.VALID << 4 | _LAYOUT


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
        return pack(*self)


def pack(verdict: Verdict, src: int, base: int, ts: int, contract: int, crc: int, topic_id: bytes) -> bytes:
    """A `Stamp`. Layout: version and verdict in one byte, src, base, ts (i64), contract, crc (u32), topic id."""
    return _PACKED.pack(verdict << 4 | _LAYOUT, src, base, ts, contract, crc, topic_id)


def fingerprint(value: bytes | None) -> int:
    return crc32(value or b"")


def unpack(headers: Sequence[tuple[str, bytes]]) -> Stamp:
    """Read a judged record's stamp. *Raises* `Fatal` where the record was not written by a judge."""
    if not headers or headers[0][0] != HEADER or len(headers[0][1]) != _SIZE or headers[0][1][0] not in _VERDICTS:
        raise _not_judged()
    tag, *said = _unpack(headers[0][1])
    return Stamp(_VERDICTS[tag], *said)


class Stamps(NamedTuple):
    """The stamps of a batch. *Shape*: one entry per record."""

    tags: list[int]
    """Of their verdicts: `VALID_TAG`, or ask `verdict_of`."""
    src: NDArray[np.int64]
    base: NDArray[np.int64]
    ts: list[int]


def stamps(records: Sequence[Record]) -> Stamps:
    """*Raises* `Fatal` where a record was not written by a judge."""
    try:
        first = [record.headers[0] for record in records]
    except IndexError:
        raise _not_judged() from None
    packed = [value for name, value in first if name == HEADER and len(value) == _SIZE]
    columns = unpacked(b"".join(packed))
    tags: list[int] = columns["tag"].tolist()
    if len(packed) != len(records) or not _VERDICTS.keys() >= set(tags):
        raise _not_judged()
    return Stamps(tags, columns["src"].astype(np.int64), columns["base"].astype(np.int64), columns["ts"].tolist())


def unpacked(packed: bytes | memoryview) -> NDArray[np.void]:
    """Packed stamps, one after the other, as columns: tag, src, base, ts, contract, crc, id."""
    return np.frombuffer(packed, _COLUMNS)


def _not_judged() -> Fatal:
    return Fatal(
        "a record on a judged topic does not begin with a valid 'df' header: only quality-worker may write there; "
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

    def accept(self, stamps: Stamps) -> tuple[Sequence[int], int | None]:
        """Which records of a batch are accepted, in their order; and which one after the last of these, if there is
        one, claims a log position this reader never saw.
        """
        src, base = stamps.src, stamps.base
        in_order = (src[1:] > src[:-1]).all() and (base[1:] <= src[:-1] + 1).all()
        if in_order and len(src) and base[0] <= self.next <= src[0]:
            self.next = int(src[-1]) + 1
            return range(len(src)), None  # as nearly always: one after the other
        accepted: list[int] = []
        gap = None
        for at, (claimed, raw) in enumerate(zip(base.tolist(), src.tolist(), strict=True)):
            if self.accepts(claimed, raw):
                accepted.append(at)
                gap = None
            elif claimed > self.next:
                gap = at
        return accepted, gap

    def accepted(self, records: Iterable[Record]) -> Iterator[tuple[Record, Stamp]]:
        for record in records:
            stamp = unpack(record.headers)
            if self.accepts(stamp.base, stamp.src):
                yield record, stamp
