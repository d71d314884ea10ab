"""The platform's windows against the oracle's, full outer join: equal, different, missing, extra."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from devstack.oracle import retail
from devstack.oracle.outcomes import Database
from devstack.oracle.sketches import check_sketches

GOT = pa.schema(
    [
        ("metric", pa.string()),
        ("by", pa.string()),
        ("window", pa.string()),
        ("start_ms", pa.int64()),
        ("label", pa.string()),
        ("value", pa.string()),
    ]
)
"""`value` is the JSON text of the API; `label` is '' for a total."""

FIRST = 20


@dataclass(frozen=True, slots=True)
class Comparison:
    compared: int
    equal: int
    different: int
    missing: int
    extra: int
    by_metric: dict[str, int]
    """Metric -> windows compared."""
    first: list[dict[str, Any]] = field(default_factory=list)
    """The first of those that are not equal."""

    @property
    def agrees(self) -> bool:
        return self.compared == self.equal > 0


def compare(db: Database, got: pa.Table, stated: dict[str, float]) -> Comparison:
    """*Needs* `want` and `fact` (`expect_windows`). `stated`: metric -> error bound, as the API gives it.

    A row given twice is extra. Sums agree to the last digit as scaled integers; ratios to 1e-9, relative;
    sketches within their bound.
    """
    db.register("got_in", got)
    db.execute(
        """CREATE OR REPLACE TABLE got AS
           SELECT *, row_number() OVER (PARTITION BY metric, "by", "window", start_ms, label) AS nth FROM got_in"""
    )
    db.execute("CREATE OR REPLACE TABLE stated (metric VARCHAR, bound DOUBLE)")
    if stated:
        db.executemany("INSERT INTO stated VALUES (?, ?)", list(stated.items()))
    check_sketches(db)
    scales = ", ".join(f"('{name}', {10**m.scale})" for name, m in retail.EXACT.items())
    sketched = ", ".join(f"'{m}'" for m in (*retail.DISTINCT, *retail.QUANTILES, *retail.TOP))
    db.execute(
        f"""
        CREATE OR REPLACE TABLE compared AS
        WITH scale(metric, unit) AS (VALUES {scales}), pairs AS (
            SELECT metric, "by", "window", start_ms, label, w.top, w.bottom, g.value,
                   w.metric IS NOT NULL AS wanted, g.metric IS NOT NULL AS present,
                   metric IN ({sketched}) AS sketched, TRY_CAST(g.value AS DOUBLE) AS v, unit, off.expected AS off
            FROM (SELECT *, 1 AS nth FROM want) w
            FULL JOIN got g USING (metric, "by", "window", start_ms, label, nth)
            LEFT JOIN scale USING (metric) LEFT JOIN off USING (metric, "window", start_ms))
        SELECT metric, "by", "window", start_ms, label, value AS given,
               CASE WHEN sketched THEN off WHEN bottom IS NULL THEN CAST(top / unit AS VARCHAR)
                    WHEN bottom != 0 THEN CAST(top / bottom AS VARCHAR) ELSE 'null' END AS expected,
               CASE WHEN NOT present THEN 'missing' WHEN NOT wanted THEN 'extra'
                    WHEN sketched THEN CASE WHEN off IS NULL THEN 'equal' ELSE 'different' END
                    WHEN bottom IS NULL THEN
                        CASE WHEN abs(v * unit - top) < 0.01 THEN 'equal' ELSE 'different' END
                    WHEN bottom = 0 THEN CASE WHEN value = 'null' THEN 'equal' ELSE 'different' END
                    WHEN abs(v - top / bottom) <= 1e-9 * abs(top / bottom) THEN 'equal'
                    ELSE 'different' END AS result
        FROM pairs
        """  # noqa: S608
    )
    counts = dict(db.execute("SELECT result, count(*) FROM compared GROUP BY 1").fetchall())
    first = db.execute(
        f"""SELECT result, metric, "by", "window", epoch_ms(start_ms)::VARCHAR AS start, label, expected, given
            FROM compared WHERE result != 'equal' ORDER BY ALL LIMIT {FIRST}"""  # noqa: S608
    )
    names = [column[0] for column in first.description or []]
    return Comparison(
        compared=sum(counts.values()),
        equal=counts.get("equal", 0),
        different=counts.get("different", 0),
        missing=counts.get("missing", 0),
        extra=counts.get("extra", 0),
        first=[dict(zip(names, row, strict=True)) for row in first.fetchall()],
        by_metric=dict(db.execute("SELECT metric, count(*) FROM compared GROUP BY 1 ORDER BY 1").fetchall()),
    )
