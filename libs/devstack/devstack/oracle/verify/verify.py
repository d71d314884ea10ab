"""Verifies one event type, partition by partition, up to a position taken at the start; traffic may go on meanwhile.

Memory: one landing object and one fetch of the log at a time, the ids of one dedupe horizon, and 16 bytes for each
record that was not valid.
"""

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, cast
from zlib import crc32

import msgspec
from redis.asyncio import Redis

from devstack.oracle.landed import Bucket
from devstack.oracle.verify.findings import CHECKS, Check, Checks, Event
from devstack.oracle.verify.recount import Recount
from devstack.oracle.verify.rows import ChainWalk, LogWalk, Objects, Row, shown, whole

_STAMP = struct.Struct(">BqqqII16s")
_LAYOUT = 1
_VERDICTS = ("valid", "quarantined", "undecodable")
_TOO_LARGE = "too_large"
_QUARANTINE_WAIT_S = 60.0

OnProgress = Callable[[int, int], None]
"""(judged records done, in all) of the partition at hand."""


@dataclass(frozen=True, slots=True)
class Servers:
    kafka: str
    redis_url: str
    bucket: Bucket


@dataclass(slots=True)
class _State:
    """A partition's state at one instant."""

    position: int
    next: int
    watermark: int
    ledger: dict[int, dict[str, Any]]


async def verify(servers: Servers, event: Event, partition: int, progress: OnProgress) -> list[Check]:
    """*Raises* what the clients raise where a server does not answer."""
    checks = Checks(event, partition)
    for name in CHECKS:
        checks[name]  # each is in the report, also where it looked at nothing
    state = await _state(servers.redis_url, event, partition)
    async with (
        servers.bucket.client() as s3,
        LogWalk(servers.kafka, event.topic("judged"), partition) as judged_log,
        LogWalk(servers.kafka, event.topic("raw"), partition) as raw_log,
        LogWalk(servers.kafka, event.topic("quarantine"), partition) as quarantine_log,
    ):
        objects = Objects(s3, servers.bucket)

        def rows(kind: str, log: LogWalk) -> AsyncIterator[Row]:
            chain = ChainWalk(objects, event.topic(kind), partition, log.end, checks[f"{kind} landing"])
            return whole(chain, log, log.end, checks[f"{kind} log"])

        if state.position > judged_log.end:
            what = "the state is further than the judged log: the log was replaced, or lost its end"
            checks["ledger"].misfit(-1, what, f"at most {judged_log.end}", state.position)
        walk = _Verdicts(event, checks["verdicts"], state, checks["ledger"])
        raw = rows("raw", raw_log)
        async for row in rows("judged", judged_log):
            await walk.judged(row, raw)
            if row.offset % 1000 == 0:
                progress(row.offset, judged_log.end)
        walk.end()
        async for _ in raw:
            pass  # their verdicts are on their way; landing and log are held against each other all the same
        await _quarantine(walk, quarantine_log, checks["quarantine"])
    progress(1, 1)
    return [checks.made[name] for name in CHECKS]


class _Verdicts:
    """The acceptance fold of docs/specs/log.md, each accepted verdict beside its raw record."""

    def __init__(self, event: Event, check: Check, state: _State, ledger: Check) -> None:
        self._check, self._state, self._ledger = check, state, ledger
        self._recount = Recount(event)
        self._compared = False
        self.next = 0
        self.rejected: dict[int, tuple[int, str]] = {}
        """Raw offset of each record that is not valid -> crc of its bytes, reason."""
        self._ahead: Row | None = None

    async def judged(self, row: Row, raw: AsyncIterator[Row]) -> None:
        if row.offset >= self._state.position:
            self._compare()
        headers = dict(row.headers)
        stamp = headers.get("df", b"")
        if len(stamp) != _STAMP.size or stamp[0] & 15 != _LAYOUT:
            self._check.misfit(
                row.offset, "a judged record (its own offset) without a judge's stamp", "a stamp", "none"
            )
            return
        tag, src, base, ts, _, crc, _ = _STAMP.unpack(stamp)
        if not base <= self.next <= src:
            return
        self.next = src + 1
        verdict, reason = _VERDICTS[tag >> 4], headers.get("reason", b"").decode()
        await self._beside(src, ts, crc, row, raw, kept=reason != _TOO_LARGE)
        value = row.value or b""
        if verdict != "valid":
            self.rejected[src] = (crc32(value), reason)
        try:
            if not self._compared:
                self._recount.add(src, ts, verdict, reason, value)
        except (ValueError, KeyError, TypeError) as error:
            self._check.misfit(src, "valid, and its id and time cannot be read", "an event", repr(error))

    async def _beside(self, src: int, ts: int, crc: int, row: Row, raw: AsyncIterator[Row], *, kept: bool) -> None:
        """`kept`: the verdict has the record's bytes with it; else it has none."""
        self._check.looked_at += 1
        original = self._ahead or await anext(raw, None)
        self._ahead = None
        while original is not None and original.offset < src:
            self._check.misfit(original.offset, "a raw record without a verdict", "one accepted verdict", "none")
            original = await anext(raw, None)
        if original is None or original.offset > src:
            self._ahead = original
            self._check.misfit(src, "a verdict on a raw record that is not there", "a raw record", "none")
        elif (original.ts, (original.value or b"") if kept else b"") != (ts, row.value or b""):
            self._check.misfit(
                src, "judged with other bytes or time than the raw record's", shown(original), shown(row)
            )
        elif crc32(original.value or b"") != crc:
            self._check.misfit(src, "bytes are not those of the stamp", f"crc {crc:08x}", shown(original))

    def end(self) -> None:
        self._compare()

    def _compare(self) -> None:
        """The state's ledger with the recount at the state's own position."""
        if self._compared:
            return
        self._compared = True
        found = self._state
        for what, expected, stored in (
            ("the state's raw position", self.next, found.next),
            ("the state's watermark", self._recount.watermark, found.watermark),
        ):
            if expected != stored:
                self._ledger.misfit(min(self.next, found.next), what, expected, stored)
        self._recount.compare(found.ledger, self._ledger)


async def _state(url: str, event: Event, partition: int) -> _State:
    key = f"df:{{{event.name}/{partition}}}"
    async with Redis.from_url(url, socket_timeout=10, socket_connect_timeout=10) as redis:
        pipe = redis.pipeline(transaction=True)
        pipe.hmget(f"{key}:meta", ["position", "next", "watermark"])
        pipe.hgetall(f"{key}:ledger")
        places, ledger = cast("tuple[list[bytes | None], dict[bytes, bytes]]", await pipe.execute())
    position, following, watermark = (int(place or 0) for place in places)
    return _State(position, following, watermark, {int(m): msgspec.msgpack.decode(e) for m, e in ledger.items()})


async def _quarantine(walk: _Verdicts, log: LogWalk, check: Check) -> None:
    """Every record that was not valid has a first copy, of its bytes and reason; waits for copies under way."""
    missing, start = dict(walk.rejected), log.begin
    seen: set[int] = set()
    lowest: int | None = None
    until = time.monotonic() + _QUARANTINE_WAIT_S
    while True:
        await log.look()
        async for copy in log.rows(max(start, log.begin), log.end):
            if copy.key is None:
                continue  # a place mark of its writer
            src = int(copy.key.rpartition(b"/")[2])
            if src in seen or src >= walk.next:
                continue  # repeats of a crash, and records that came after the start
            seen.add(src)
            lowest = src if lowest is None else lowest
            _copy(copy, src, missing.pop(src, None), walk, check)
        start = log.end
        if not missing or time.monotonic() > until:
            break
        await asyncio.sleep(0.2)
    if log.begin:
        gone = [src for src in missing if lowest is None or src < lowest]
        missing = {src: one for src, one in missing.items() if src not in set(gone)}
        check.notes.append(f"{len(gone)} copies are older than the topic's retention: not looked at")
    for src in sorted(missing):
        check.misfit(src, "not valid, and not in the quarantine topic", "a copy", "none")


def _copy(copy: Row, src: int, expected: tuple[int, str] | None, walk: _Verdicts, check: Check) -> None:
    check.looked_at += 1
    found = (crc32(copy.value or b""), dict(copy.headers).get("reason", b"").decode())
    if expected is None:
        check.misfit(src, "in the quarantine topic, and its verdict is another", "no copy", f"reason {found[1]}")
    elif expected != found:
        check.misfit(src, "quarantined with other bytes or reason", f"crc, reason {expected}", f"crc, reason {found}")
