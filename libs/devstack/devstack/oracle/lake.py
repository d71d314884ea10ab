"""The lake's tables beside what must be in them. DuckDB reads Iceberg by itself: nothing of Spark's, nothing of ours.

*Needs* `outcomes.load` and `decide`: what was received, and what must become of it.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa

from devstack.oracle import retail
from devstack.oracle.landed import Bucket
from devstack.oracle.outcomes import Database
from devstack.oracle.sketches import check_sketches
from devstack.oracle.windows import GOLD_SKETCHED, expect_gold, expect_windows

LAYERS = ("bronze", "silver", "gold")
FIRST = 20
_TAKE = 100_000
_EXTENSIONS = ("httpfs", "avro", "iceberg")
"""In this order: the last one needs the others."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Rows of a table against those due; the same row twice is extra."""

    compared: int
    equal: int
    different: int
    missing: int
    extra: int
    first: list[dict[str, Any]]
    """The first of those that are not equal."""

    @property
    def agrees(self) -> bool:
        return self.compared == self.equal > 0


@dataclass(frozen=True, slots=True)
class Due:
    """What `agree` must say while nothing has corrected the live numbers, and both stand at the end of the log."""

    windows: int
    """To be compared."""
    least: int
    """That differ for sure: exact values that late events change, and quantiles, which know of how many values."""
    most: int
    """That may differ: `distinct` and top-k may not notice a late event."""


def attach(db: Database, catalog: Path, bucket: Bucket, *, namespace: str, event: str) -> None:
    """Views `lake_bronze`, `lake_silver`, `lake_gold`, of the tables as they are now.

    *Raises* `LookupError` where there is no such table.
    """
    for name in _EXTENSIONS:
        db.execute(f"LOAD '{_extension(name)}'")
    scheme, _, host = bucket.endpoint.partition("://")
    db.execute(
        f"""CREATE OR REPLACE SECRET lake (TYPE s3, KEY_ID '{bucket.access_key}', SECRET '{bucket.secret_key}',
            REGION '{bucket.region}', ENDPOINT '{host}', USE_SSL {str(scheme == "https").lower()}, URL_STYLE 'path')"""
    )
    for layer in LAYERS:
        location = metadata_location(catalog, namespace, f"{layer}_{event}")
        if location is None:
            raise LookupError(f"the catalog {catalog} names no table {layer}_{event} of {namespace}")
        db.execute(f"CREATE OR REPLACE VIEW lake_{layer} AS FROM iceberg_scan('{location}')")


def metadata_location(catalog: Path, namespace: str, table: str) -> str | None:
    """Of a table's current metadata, by the SQLite catalog; None where there is no such table."""
    if not catalog.exists():
        return None
    with closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True, timeout=30)) as db:
        query = "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = ? AND table_name = ?"
        row = db.execute(query, (namespace, table)).fetchone()
    return row[0] if row else None


def _extension(name: str) -> Path:
    """The file that a package brings: nothing is downloaded."""
    spec = find_spec(f"duckdb_extension_{name}")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in Path(folder).rglob(f"{name}.duckdb_extension*"):
            return file
    raise LookupError(f"there is no package duckdb-extension-{name}")


def compare_bronze(db: Database) -> Layer:
    """Every record received is there once, with its bytes, time, verdict and reason."""
    rows = db.execute(
        """SELECT partition, "offset", epoch_ms(ts) AS ts, verdict, coalesce(reason, '') AS reason, value
           FROM lake_bronze"""
    ).to_arrow_reader(_TAKE)
    batches = [
        pa.record_batch([*batch.columns[:-1], pa.array([crc32(v or b"") for v in batch.columns[-1].to_pylist()])],
                        [*batch.schema.names[:-1], "crc"])
        for batch in rows
    ]  # fmt: skip
    db.register("bronze_in", pa.Table.from_batches(batches) if batches else _NO_BRONZE)
    db.execute(
        """
        CREATE OR REPLACE TABLE bronze_compared AS
        SELECT coalesce(e.partition, b.partition) AS partition, coalesce(e."offset", b."offset") AS "offset", e.kind,
               e.verdict || ' ' || e.reason AS expected, b.verdict || ' ' || b.reason AS given,
               CASE WHEN b.partition IS NULL THEN 'missing' WHEN e.partition IS NULL THEN 'extra'
                    WHEN (e.ts, e.crc, e.verdict, e.reason) = (b.ts, b.crc, b.verdict, b.reason) THEN 'equal'
                    ELSE 'different' END AS result
        FROM (SELECT *, 1 AS nth FROM expected) e
        FULL JOIN (SELECT *, row_number() OVER (PARTITION BY partition, "offset") AS nth FROM bronze_in) b
        ON e.partition = b.partition AND e."offset" = b."offset" AND e.nth = b.nth
        """
    )
    return _layer(db, "bronze_compared")


_NO_BRONZE = pa.table(
    {name: pa.array([], kind) for name, kind in (
        ("partition", pa.int32()), ("offset", pa.int64()), ("ts", pa.int64()), ("verdict", pa.string()),
        ("reason", pa.string()), ("crc", pa.int64()),
    )}
)  # fmt: skip


def compare_silver(db: Database) -> Layer:
    """Of every event the earliest valid record is there once, with its fields and its department.

    Table `event`: these records, as in `expected`.
    """
    malformed = ", ".join(f"'{kind}'" for kind in retail.BAD_INPUT)
    db.execute(
        f"""
        CREATE OR REPLACE TABLE event AS
        SELECT * FROM expected WHERE verdict = 'valid'
        QUALIFY row_number() OVER (
            PARTITION BY pass, row, CASE WHEN kind IN ({malformed}) THEN (partition, "offset") END
            ORDER BY ts, partition, "offset") = 1
        """  # noqa: S608
    )
    ids = "'cj' || pass || '-' || row || '-' || basket_id || '-' || product_id"
    due = f"""CASE WHEN kind IN ({malformed}) THEN NULL ELSE {ids} END, event_ms, ts, household_id, store_id, basket_id,
              product_id, quantity, sales_cents, retail_cents, coupon_cents, match_cents,
              nullif(department, '{retail.UNKNOWN}')"""
    given = f"""CASE WHEN kind IN ({malformed}) THEN NULL ELSE df_id END, epoch_ms(df_time), epoch_ms(df_ts),
              s.household_id, s.store_id, s.basket_id, s.product_id, s.quantity, {_cents("sales_value")},
              {_cents("retail_disc")}, {_cents("coupon_disc")}, {_cents("coupon_match_disc")}, s.dim_department"""
    db.execute(
        f"""
        CREATE OR REPLACE TABLE silver_compared AS
        SELECT coalesce(e.partition, s.df_partition) AS partition, coalesce(e."offset", s.df_offset) AS "offset",
               kind::VARCHAR AS kind, e.due::VARCHAR AS expected, ({given})::VARCHAR AS given,
               CASE WHEN s.df_id IS NULL THEN 'missing' WHEN e.partition IS NULL THEN 'extra'
                    WHEN e.due IS NOT DISTINCT FROM ({given}) THEN 'equal' ELSE 'different' END AS result
        FROM (SELECT partition, "offset", kind, ({due}) AS due, 1 AS nth FROM event JOIN item USING (row)) e
        FULL JOIN (SELECT *, row_number() OVER (PARTITION BY df_partition, df_offset) AS nth FROM lake_silver) s
        ON e.partition = s.df_partition AND e."offset" = s.df_offset AND e.nth = s.nth
        """  # noqa: S608
    )
    return _layer(db, "silver_compared")


def _cents(column: str) -> str:
    return f"CAST(s.{column} * 100 AS BIGINT)"


def compare_gold(db: Database) -> Layer:
    """Every window is there once: sums to the last cent, sketches within their stated error. *Needs* `event`."""
    expect_gold(db)
    db.execute(
        """
        CREATE OR REPLACE TABLE got AS
        SELECT metric, coalesce("by"[1], '') AS "by", "window", epoch_ms(start) AS start_ms,
               coalesce(labels[1], '') AS label, CAST(top AS HUGEINT) AS top, CAST(bottom AS HUGEINT) AS bottom,
               value AS number, coalesce(shown, round(value)::BIGINT::VARCHAR) AS value,
               row_number() OVER (PARTITION BY metric, "by", "window", start, labels) AS nth
        FROM lake_gold
        """
    )
    db.execute("CREATE OR REPLACE TABLE stated (metric VARCHAR, bound DOUBLE)")
    db.executemany("INSERT INTO stated VALUES (?, ?)", list(retail.STATED.items()))
    check_sketches(db, GOLD_SKETCHED)
    units = ", ".join(f"('{name}', {10**m.scale})" for name, m in retail.EXACT.items())
    exact = ", ".join(f"'{name}'" for name in retail.EXACT)
    db.execute(
        f"""
        CREATE OR REPLACE TABLE gold_compared AS
        WITH unit(metric, unit) AS (VALUES {units}), pairs AS (
            SELECT metric, "by", "window", start_ms, label, w.top, w.bottom, g.top AS gtop, g.bottom AS gbottom,
                   g.number, g.value, w.metric IS NOT NULL AS wanted, g.metric IS NOT NULL AS present,
                   off.expected AS off, CASE WHEN w.bottom IS NULL THEN w.top / unit
                                             WHEN w.bottom != 0 THEN w.top / w.bottom END AS due
            FROM (SELECT *, 1 AS nth FROM want) w
            FULL JOIN got g USING (metric, "by", "window", start_ms, label, nth)
            LEFT JOIN unit USING (metric) LEFT JOIN off USING (metric, "window", start_ms))
        SELECT metric, "by", "window", epoch_ms(start_ms)::VARCHAR AS start, label,
               CASE WHEN metric IN ({exact}) THEN concat_ws(' / ', top, bottom) ELSE off END AS expected,
               CASE WHEN metric IN ({exact}) THEN concat_ws(' / ', gtop, gbottom) ELSE value END AS given,
               CASE WHEN NOT present THEN 'missing' WHEN NOT wanted THEN 'extra'
                    WHEN metric NOT IN ({exact}) THEN if(off IS NULL, 'equal', 'different')
                    WHEN (top, bottom) IS DISTINCT FROM (gtop, gbottom) THEN 'different'
                    WHEN due IS NULL AND number IS NULL OR abs(due - number) <= 1e-12 * abs(due) THEN 'equal'
                    ELSE 'different' END AS result
        FROM pairs
        """  # noqa: S608
    )
    return _layer(db, "gold_compared")


def due_of_agree(db: Database) -> Due:
    """*Needs* `event`. Table `want` is made anew."""
    expect_gold(db)
    db.execute("""CREATE OR REPLACE TEMP TABLE all_events AS FROM want WHERE "window" != '1d'""")
    expect_windows(db, [])
    exact = ", ".join(f"'{name}'" for name in retail.EXACT)
    touched = " UNION ALL ".join(
        f"""SELECT count(DISTINCT event_ms - event_ms % {retail.WINDOWS_MS[window]}) AS n FROM event
            WHERE outcome = 'late'"""  # noqa: S608
        for window in retail.SKETCHED_WINDOWS
    )
    [(windows, exactly, sketched)] = db.execute(
        f"""
        WITH pairs AS (
            SELECT metric, a.metric IS NULL OR c.metric IS NULL
                   OR CASE WHEN a.bottom IS NULL THEN a.top != c.top
                           WHEN a.bottom = 0 OR c.bottom = 0 THEN (a.bottom = 0) != (c.bottom = 0)
                           ELSE a.top * c.bottom != c.top * a.bottom END AS differs
            FROM all_events a FULL JOIN want c USING (metric, "by", "window", start_ms, label))
        SELECT count(*), count(*) FILTER (differs AND metric IN ({exact})), (SELECT sum(n)::BIGINT FROM ({touched}))
        FROM pairs
        """  # noqa: S608
    ).fetchall()
    kinds = len(retail.DISTINCT) + len(retail.QUANTILES) + len(retail.TOP)
    return Due(windows, exactly + sketched * len(retail.QUANTILES), exactly + sketched * kinds)


def _layer(db: Database, table: str) -> Layer:
    counts = dict(db.execute(f"SELECT result, count(*) FROM {table} GROUP BY 1").fetchall())  # noqa: S608
    found = db.execute(f"FROM {table} WHERE result != 'equal' ORDER BY ALL LIMIT {FIRST}")
    names = [column[0] for column in found.description or []]
    equal, different, missing, extra = (counts.get(of, 0) for of in ("equal", "different", "missing", "extra"))
    first = [dict(zip(names, map(str, row), strict=True)) for row in found.fetchall()]
    return Layer(sum(counts.values()), equal, different, missing, extra, first)
