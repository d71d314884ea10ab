"""The KPI windows as they must be: SQL over the counted events and the source data."""

from collections.abc import Mapping, Sequence

from devstack.oracle import retail
from devstack.oracle.outcomes import Database

LIVE_SKETCHED = {window: retail.WINDOWS_MS[window] for window in retail.SKETCHED_WINDOWS}
GOLD_SKETCHED = LIVE_SKETCHED | retail.DAY_MS
"""Window -> size in ms, of the sketched KPIs."""


def expect_windows(db: Database, rolling_at_ms: Sequence[int]) -> None:
    """Table `fact` (counted events with their line item) and `want`: one row per exact KPI, window and label.

    *Shape* of `want`: metric, by, window, start_ms, label, top, bottom (integers; bottom NULL unless a ratio).
    Sketched KPIs have a row without numbers: `devstack.oracle.sketches` checks their values against `fact`.
    """
    _facts(db, "FROM expected WHERE outcome = 'counted'")
    for by, label in retail.DIMENSIONS.items():
        for window, size_ms in retail.WINDOWS_MS.items():
            _exact(db, by, label, window, f"event_ms - event_ms % {size_ms}", "true")
        for at_ms in rolling_at_ms:
            start_ms = at_ms - retail.ROLLING_MS
            inside = f"event_ms >= {start_ms} AND event_ms < {at_ms}"
            _exact(db, by, label, "rolling:5m", str(start_ms), inside)
    _sketched(db, LIVE_SKETCHED)


def expect_gold(db: Database) -> None:
    """As `expect_windows`, of table `event` (every event once over all time, however late) and by day too."""
    _facts(db, "FROM event")
    for by, label in retail.DIMENSIONS.items():
        for window, size_ms in (retail.WINDOWS_MS | retail.DAY_MS).items():
            _exact(db, by, label, window, f"event_ms - event_ms % {size_ms}", "true")
    _sketched(db, GOLD_SKETCHED)


def _facts(db: Database, events: str) -> None:
    """Tables `fact`, and an empty `want`. `events` is ours, not a user's."""
    db.execute(
        f"""
        CREATE OR REPLACE TABLE fact AS
        SELECT e.event_ms, item.* FROM ({events}) e JOIN item USING (row)
        """  # noqa: S608
    )
    db.execute(
        """CREATE OR REPLACE TABLE want (metric VARCHAR, "by" VARCHAR, "window" VARCHAR, start_ms BIGINT,
                                         label VARCHAR, top HUGEINT, bottom HUGEINT)"""
    )


def _sketched(db: Database, windows: Mapping[str, int]) -> None:
    for window, size_ms in windows.items():
        for metric in (*retail.DISTINCT, *retail.QUANTILES, *retail.TOP):
            db.execute(
                f"""INSERT INTO want SELECT DISTINCT '{metric}', '', '{window}', event_ms - event_ms % {size_ms},
                                            '', NULL::HUGEINT, NULL::HUGEINT FROM fact"""  # noqa: S608
            )


def _exact(db: Database, by: str, label: str, window: str, start: str, inside: str) -> None:
    """All exact KPIs of one dimension and window in one pass. The arguments are ours, not a user's."""
    names = ", ".join(f"'{name}'" for name in retail.EXACT)
    tops = ", ".join(m.top for m in retail.EXACT.values())
    bottoms = ", ".join(f"CAST({m.bottom} AS HUGEINT)" for m in retail.EXACT.values())
    db.execute(
        f"""
        INSERT INTO want
        SELECT metric, '{by}', '{window}', start_ms, label, top, bottom FROM (
            SELECT {start} AS start_ms, {label} AS label, unnest([{names}]) AS metric,
                   unnest([{tops}]) AS top, unnest([{bottoms}]) AS bottom
            FROM fact WHERE {inside} GROUP BY 1, 2)
        """  # noqa: S608
    )


def span(db: Database) -> tuple[int, int]:
    """First and last event time that counts, in ms. *Raises* `LookupError` where nothing does."""
    query = "SELECT min(event_ms), max(event_ms) FROM expected WHERE outcome = 'counted'"
    [(first, last)] = db.execute(query).fetchall()
    if first is None:
        raise LookupError("no event counts: there is nothing to compare")
    return first, last


def rolling_instants(db: Database) -> list[int]:
    """Three instants: a third and two thirds into the events, and the first that has them all. In ms."""
    first, last = span(db)
    every = retail.ROLLING_EVERY_MS
    instants = (first + (last - first) // 3, first + 2 * (last - first) // 3, last)
    return sorted({(t // every + 1) * every for t in instants})
