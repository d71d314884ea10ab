"""Counts a partition's accepted records again, from the contract's id and time fields alone. Pure."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from devstack.oracle.verify.findings import Check, Event

_MINUTE_MS = 60_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Recount:
    """The rules of docs/specs/guarantees.md, written a second time: a duplicate is a duplicate; else late, once, if
    event time + lateness <= watermark; the watermark is the greatest min(event time, append time) of those that are
    no duplicates; an id is remembered for the horizon, forgotten by whole minutes of the log's clock.
    """

    def __init__(self, event: Event) -> None:
        self._event = event
        self.watermark = self.clock = 0
        self.minutes: dict[int, dict[str, Any]] = {}
        self.first_of: dict[int, int] = {}
        """Minute -> raw offset of its first record."""
        self._ids: dict[int, set[str]] = {}

    def add(self, src: int, ts: int, verdict: str, reason: str, value: bytes) -> None:
        minute = ts // _MINUTE_MS * _MINUTE_MS
        self.first_of.setdefault(minute, src)
        counts = self.minutes.setdefault(
            minute, {"outcomes": Counter(), "quarantined": Counter(), "undecodable": Counter()}
        )
        if ts > self.clock:
            self.clock = ts
            oldest = minute - _MINUTE_MS - self._event.dedupe_ms
            for gone in [m for m in self._ids if m <= oldest]:
                del self._ids[gone]
        if verdict != "valid":
            counts[verdict][reason] += 1
            return
        outcome = self._outcome(json.loads(value), ts)
        counts["outcomes"].update(("valid", outcome))

    def _outcome(self, event: dict[str, Any], ts: int) -> str:
        event_id = str(event[self._event.id_field])
        if any(event_id in ids for ids in self._ids.values()):
            return "duplicate"
        self._ids.setdefault(self.clock // _MINUTE_MS * _MINUTE_MS, set()).add(event_id)
        at_ms = epoch_ms(event[self._event.time_field], self._event.time_format)
        late = at_ms + self._event.lateness_ms <= self.watermark
        self.watermark = max(self.watermark, min(at_ms, ts))
        return "late" if late else "counted"

    def compare(self, stored: dict[int, dict[str, Any]], check: Check) -> None:
        """The stored ledger against this one: every minute that is stored, and every one that must be still."""
        kept = {m for m in self.minutes if m + _MINUTE_MS + self._event.ttl_ms > self.clock}
        for minute in sorted(kept | set(stored)):
            expected, found = flat(self.minutes.get(minute)), flat_stored(stored.get(minute))
            check.looked_at += 1
            if expected != found:
                instant = (_EPOCH + timedelta(milliseconds=minute)).strftime("%Y-%m-%dT%H:%MZ")
                check.misfit(
                    self.first_of.get(minute, -1), f"the ledger of {instant} (its first record)", expected, found
                )


def flat(counts: dict[str, Any] | None) -> dict[str, int]:
    """One number per outcome and reason, no zeros."""
    if counts is None:
        return {}
    found = dict(counts["outcomes"])
    for verdict in ("quarantined", "undecodable"):
        found |= {f"{verdict} {reason}": n for reason, n in counts[verdict].items()}
    return {name: n for name, n in sorted(found.items()) if n}


def flat_stored(entry: dict[str, Any] | None) -> dict[str, int]:
    if entry is None:
        return {}
    outcomes = {name: entry.get(name, 0) for name in ("valid", "counted", "duplicate", "late")}
    return flat({"outcomes": outcomes, **{v: entry.get(v, {}) for v in ("quarantined", "undecodable")}})


def epoch_ms(value: Any, time_format: str) -> int:
    if time_format == "epoch_ms":
        return int(value)
    if time_format == "epoch_s":
        return int(value) * 1_000
    return (datetime.fromisoformat(value) - _EPOCH) // timedelta(milliseconds=1)
