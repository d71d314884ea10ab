"""What a client of the live feed has on its screen, against the windows as they must be. SQL over `want`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from devstack.oracle import retail
from devstack.oracle.api import epoch_ms
from devstack.oracle.outcomes import Database

FIRST = 5


@dataclass(frozen=True, slots=True)
class View:
    """A subscription to an exact sum. `limit`: the newest windows it shows."""

    metric: str
    by: str
    window: str
    limit: int


@dataclass(frozen=True, slots=True)
class Shown:
    compared: int
    wrong: int
    first: list[str]
    """The first that are wrong, in words."""


def compare_screen(db: Database, view: View, rows: Iterable[Mapping[str, Any]]) -> Shown:
    """Full outer join of the shown rows (docs/specs/ws.md) with the newest windows. *Needs* `expect_windows`."""
    unit, size_ms = 10 ** retail.EXACT[view.metric].scale, retail.WINDOWS_MS[view.window]
    db.execute("CREATE OR REPLACE TABLE shown (start_ms BIGINT, label VARCHAR, v DOUBLE)")
    cells = [(epoch_ms(row["start"]), row["labels"][view.by], row["value"]) for row in rows]
    if cells:
        db.executemany("INSERT INTO shown VALUES (?, ?, ?)", cells)
    db.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE screen AS
        WITH due AS (
            SELECT start_ms, label, top FROM want
            WHERE metric = $metric AND "by" = $by AND "window" = $window AND bottom IS NULL
              AND start_ms > (SELECT max(start_ms) FROM want WHERE "window" = $window) - {view.limit * size_ms})
        SELECT epoch_ms(start_ms)::VARCHAR AS start, label, top / {unit} AS due, v,
               coalesce(abs(v * {unit} - top) < 0.01, false) AS same
        FROM due FULL JOIN shown USING (start_ms, label)
        """,  # noqa: S608
        {"metric": view.metric, "by": view.by, "window": view.window},
    )
    [(compared, wrong)] = db.execute("SELECT count(*), count(*) FILTER (NOT same) FROM screen").fetchall()
    first = db.execute(f"SELECT start, label, due, v FROM screen WHERE NOT same ORDER BY ALL LIMIT {FIRST}").fetchall()  # noqa: S608
    return Shown(
        compared, wrong, [f"{view.metric} of {label} at {at} is {v}, not {due}" for at, label, due, v in first]
    )
