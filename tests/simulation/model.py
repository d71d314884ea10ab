"""What must come out, worked out naively from the logs: acceptance, duplicates, lateness, windows, quarantine.

Shares no code with the platform, only the formats of its documents (docs/specs/log.md, state.md, domain.md).
"""

import json
import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

STAMP = struct.Struct(">BqqqII16s")
VALID, QUARANTINED, UNDECODABLE = 0, 1, 2
LATENESS_MS, DEDUPE_MS, MINUTE_MS, LABEL_CAP = 10_000, 60_000, 60_000, 3
WINDOWS_MS = (10_000, 60_000)


class Verdict(NamedTuple):
    offset: int
    """Of the judged record."""
    src: int
    base: int
    ts: int
    kind: int
    reason: str
    value: bytes | None
    key: bytes | None
    topic_id: bytes


def read_verdict(record: Any) -> Verdict:
    headers = dict(record.headers)
    tag, src, base, ts, _, _, topic_id = STAMP.unpack(headers["df"])
    reason = headers.get("reason", b"").decode()
    return Verdict(record.offset, src, base, ts, tag >> 4, reason, record.value, record.key, topic_id)


@dataclass
class Counts:
    """One row: revision, events, and their amounts in cents."""

    revision: int = 0
    amounts: list[int] = field(default_factory=list)

    def column(self, kind: str, terms: str) -> int | None:
        if kind == "count":
            return len(self.amounts)
        if not self.amounts:
            return None
        return {"sum": sum, "min": min, "max": max}[kind](self.amounts)


Key = tuple[str, int, int]
"""("" or "shop", window size, window start)"""


@dataclass
class Expected:
    """A partition's state after a stretch of its judged log."""

    following: int = 0
    watermark: int = 0
    clock: int = 0
    rows: dict[Key, dict[str, Counts]] = field(default_factory=dict)
    ledger: dict[int, Counter[str]] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    """Id -> minute in which it was first seen."""
    labels: list[str] = field(default_factory=list)
    shops: dict[int, Counter[str]] = field(default_factory=dict)
    """Window of a minute -> shops of the events in it, without a cap."""

    def open_rows(self, ttl_ms: int) -> dict[Key, dict[str, Counts]]:
        return {key: rows for key, rows in self.rows.items() if key[1] + key[2] + ttl_ms > self.watermark}


class Naive:
    """Reads one partition's judged log from its beginning, and goes on where it stopped."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []
        """The accepted ones: each goes on where the one before ended, or before it and beyond."""
        self._read = self._following = 0
        self._folded, self._state = 0, Expected()

    def read(self, judged: Sequence[Any]) -> list[Verdict]:
        """All accepted verdicts of a log that only grows."""
        for record in judged[self._read :]:
            verdict = read_verdict(record)
            if verdict.base <= self._following <= verdict.src:
                self._following = verdict.src + 1
                self.verdicts.append(verdict)
        self._read = len(judged)
        return self.verdicts

    def at(self, position: int) -> Expected:
        """The state after all that lies below this judged offset. Valid until the next call."""
        count = bisect_left(self.verdicts, position, key=lambda verdict: verdict.offset)
        if count < self._folded:
            self._folded, self._state = 0, Expected()
        for verdict in self.verdicts[self._folded : count]:
            fold(self._state, verdict)
        self._folded = count
        return self._state


def fold(state: Expected, verdict: Verdict) -> None:
    """One accepted verdict, by the raw record's time."""
    state.following = verdict.src + 1
    state.clock = max(state.clock, verdict.ts)
    counts = state.ledger.setdefault(verdict.ts - verdict.ts % MINUTE_MS, Counter())
    now = state.clock - state.clock % MINUTE_MS
    for event_id in [i for i, minute in state.ids.items() if minute + MINUTE_MS + DEDUPE_MS <= now]:
        del state.ids[event_id]
    if verdict.kind != VALID:
        kind = "quarantined" if verdict.kind == QUARANTINED else "undecodable"
        counts[f"{kind} {verdict.reason}"] += 1
        return
    counts["valid"] += 1
    event = json.loads(verdict.value or b"")
    if event["id"] in state.ids:
        counts["duplicate"] += 1
        return
    state.ids[event["id"]] = now
    if event["at"] + LATENESS_MS <= state.watermark:
        counts["late"] += 1
        return
    counts["counted"] += 1
    _count(state, event)
    state.watermark = max(state.watermark, min(event["at"], verdict.ts))


def _count(state: Expected, event: Mapping[str, Any]) -> None:
    shop, at, cents = event["shop"], event["at"], round(event["amount"] * 100)
    if shop not in state.labels and len(state.labels) < LABEL_CAP:
        state.labels.append(shop)
    label = f'["{shop if shop in state.labels else "__other__"}"]'
    for size in WINDOWS_MS:
        start = at - at % size
        for by, name in (("", "[]"), ("shop", label)):
            row = state.rows.setdefault((by, size, start), {}).setdefault(name, Counts())
            row.amounts.append(cents)
            row.revision += start + size <= state.watermark
    state.shops.setdefault(at - at % MINUTE_MS, Counter())[shop] += 1


def footer_of(data: bytes) -> dict[str, Any]:
    """What a landing object says of itself."""
    return json.loads(pq.read_schema(pa.BufferReader(data)).metadata[b"dataforge"])


def read_object(data: bytes) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """A landing object's footer, and its records as (offset, timestamp, key, value, headers)."""
    table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    columns = [table.column(name).to_pylist() for name in ("offset", "timestamp", "key", "value")]
    headers = [[(h["name"], h["value"]) for h in row] for row in table.column("headers").to_pylist()]
    return footer_of(data), list(zip(*columns, headers, strict=True))


def milliseconds(instant: str) -> int:
    """An instant as the API writes it, in ms since the epoch."""
    moment = datetime.fromisoformat(instant.replace("Z", "+00:00"))
    return round(moment.timestamp() * 1000)
