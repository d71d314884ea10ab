"""What the oracle finds after a run: every stage against what was sent."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from devstack.oracle import losses, retail
from devstack.oracle.api import Api, read_windows
from devstack.oracle.compare import Comparison, compare
from devstack.oracle.losses import Losses
from devstack.oracle.outcomes import Database, contradictions, decide, load
from devstack.oracle.screens import Shown, View, compare_screen
from devstack.oracle.windows import expect_windows, rolling_instants, span

_HOUR_MS = 3_600_000
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Collected:
    """All that was read, by independent readers, once everything was through."""

    sent: pa.Table
    """The manifest."""
    raw: pa.Table
    """`RAW`"""
    judged_log: pa.Table
    """`RAW` of the judged topic: what was written, accepted or not."""
    judged: pa.Table
    """`JUDGED`: what is accepted."""
    quarantine: pa.Table
    """`QUARANTINED`"""
    landed_raw: pa.Table
    landed_judged: pa.Table
    ledger: pa.Table
    """`LEDGER`"""
    screens: Sequence[tuple[View, Rows]]


@dataclass(frozen=True, slots=True)
class Verdict:
    losses: dict[str, Losses]
    """Stage -> what it has lost, twice or wrong."""
    comparison: Comparison
    screens: list[Shown]
    expected: dict[str, int]
    """Outcome -> records, by the oracle."""
    problems: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return sum(found.lost for found in self.losses.values())

    @property
    def doubled(self) -> int:
        return sum(found.doubled for found in self.losses.values())

    @property
    def wrong_windows(self) -> int:
        return self.comparison.different + self.comparison.missing + self.comparison.extra


async def examine(collected: Collected, api: Api) -> Verdict:
    """*Raises* `NoAnswer`."""
    return await asyncio.to_thread(_examine, collected, api)


def _examine(collected: Collected, api: Api) -> Verdict:
    with duckdb.connect() as db:
        load(db, collected.raw, collected.sent)
        decide(db, retail.LATENESS_MS)
        found = stage_losses(db, collected)
        instants = rolling_instants(db)
        expect_windows(db, instants)
        first_ms, last_ms = span(db)
        got, stated = read_windows(api, first_ms - _HOUR_MS, last_ms + _HOUR_MS, instants)
        comparison = compare(db, got, stated)
        screens = [compare_screen(db, view, rows) for view, rows in collected.screens]
        outcomes = db.execute("SELECT coalesce(outcome, verdict), count(*) FROM expected GROUP BY 1 ORDER BY 1")
        expected = dict(outcomes.fetchall())
        problems = [f"the injector meant otherwise (kind, outcome, records): {row}" for row in contradictions(db)]
    return Verdict(found, comparison, screens, expected, problems + in_words(found, comparison, screens))


def stage_losses(db: Database, collected: Collected) -> dict[str, Losses]:
    """*Needs* `decide`."""
    return {
        "log": losses.sent(db),
        "landing_raw": losses.landed(db, collected.raw, collected.landed_raw),
        "landing_judged": losses.landed(db, collected.judged_log, collected.landed_judged),
        "judge": losses.judged(db, collected.judged),
        "quarantine": losses.quarantined(db, collected.quarantine),
        "aggregator": losses.counted(db, collected.ledger),
    }


def in_words(found: Mapping[str, Losses], comparison: Comparison, screens: Sequence[Shown]) -> list[str]:
    """What does not agree; empty where all does."""
    said = [
        f"{stage}: {one.lost} records are lost, {one.doubled} are there more often than once, {one.wrong} are wrong"
        for stage, one in found.items()
        if not one.none
    ]
    wrong = comparison.different, comparison.missing, comparison.extra
    if any(wrong):
        said.append("of {} windows {} are different, {} missing, {} extra".format(comparison.compared, *wrong))
    if comparison.compared == 0:
        said.append("no window was compared")
    said += [
        f"of {shown.compared} rows on a WebSocket client's screen {shown.wrong} are wrong: {shown.first}"
        for shown in screens
        if shown.wrong or not shown.compared
    ]
    return said
