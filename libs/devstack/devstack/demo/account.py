"""Everything that was counted, by independent readers, beside what must have been."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from devstack.demo.report import disagreements, identities
from devstack.oracle import retail
from devstack.oracle.api import Api, instant, read_windows
from devstack.oracle.compare import Comparison, compare
from devstack.oracle.landed import Landing
from devstack.oracle.log import read_judged, read_raw
from devstack.oracle.outcomes import Database, contradictions, decide, load, misjudged, mislanded
from devstack.oracle.windows import expect_windows, rolling_instants, span

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Account:
    received: int
    landed: int
    verdicts: dict[str, dict[str, int]]
    """Verdict -> reason -> records in `judged`."""
    ledger: dict[str, Any]
    comparison: Comparison
    rolling_at: list[str]
    injected: dict[str, int]
    problems: list[str]


async def account(kafka: str, raw: str, landing: Landing, api: Api, sent: pa.Table) -> Account:
    """Read all stages and compare. Needs a settled platform (`settle.through`)."""
    received = await read_raw(kafka, raw)
    judged = await read_judged(kafka, raw.replace("raw.", "judged.", 1))
    landed = await landing.read()
    return await asyncio.to_thread(_compare, received, judged, landed, api, sent)


def _compare(received: pa.Table, judged: pa.Table, landed: pa.Table, api: Api, sent: pa.Table) -> Account:
    with duckdb.connect() as db:
        load(db, received, sent)
        decide(db, retail.LATENESS_MS)
        problems = [
            *_first("sent and received differ", db.execute("FROM unexplained LIMIT 10").fetchall()),
            *_first("the injector meant otherwise (kind, outcome, records)", contradictions(db)),
            *_first("landing differs (partition, offset, rows)", mislanded(db, landed)),
            *_first("judged differs (partition, offset, kind, expected: verdict, reason; is)", misjudged(db, judged)),
        ]
        instants = rolling_instants(db)
        expect_windows(db, instants)
        first_ms, last_ms = span(db)
        got, stated = read_windows(api, first_ms - _HOUR_MS, last_ms + _HOUR_MS, instants)
        comparison = compare(db, got, stated)
        verdicts = _verdicts(db)
        ledger = api.ledger()
        problems += disagreements(comparison)
        problems += identities(
            received.num_rows,
            landed.num_rows,
            {verdict: sum(reasons.values()) for verdict, reasons in verdicts.items()},
            {k: sum(v.values()) if isinstance(v, dict) else v for k, v in ledger.items()},
            dict(db.execute("SELECT outcome, count(*) FROM expected WHERE outcome NOT NULL GROUP BY 1").fetchall()),
        )
        kinds = db.execute("SELECT kind::VARCHAR, count(*) FROM expected GROUP BY 1 ORDER BY 1").fetchall()
    return Account(
        received=received.num_rows,
        landed=landed.num_rows,
        verdicts=verdicts,
        ledger=ledger,
        comparison=comparison,
        rolling_at=[instant(at) for at in instants],
        injected=dict(kinds),
        problems=problems,
    )


def _verdicts(db: Database) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {"valid": {}, "quarantined": {}, "undecodable": {}}
    rows = db.execute("SELECT verdict, reason, count(*) FROM judged_in GROUP BY ALL ORDER BY 3 DESC, 2").fetchall()
    for verdict, reason, count in rows:
        found[verdict][reason] = count
    return found


def _first(what: str, rows: Sequence[Any]) -> list[str]:
    return [f"{what}: {row}" for row in rows]
