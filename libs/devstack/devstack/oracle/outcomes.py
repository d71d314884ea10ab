"""What must become of every record: verdict, reason, and counted, duplicate or late. SQL over what Kafka holds."""

from typing import Any

import duckdb
import pyarrow as pa

from devstack.oracle import retail
from devstack.replay.purchases import source

Database = duckdb.DuckDBPyConnection


def load(db: Database, raw: pa.Table, sent: pa.Table) -> None:
    """Tables `item` (the source, money in cents), `record` (what was received and what it is), and `unexplained`.

    A partition's n-th record received is its n-th record sent, and has the same bytes; what is not so is in
    `unexplained` (columns: partition, n, problem).
    """
    db.register("raw_in", raw)
    db.register("sent_in", sent)
    db.execute(
        f"""
        CREATE OR REPLACE TABLE item AS
        SELECT t.file_row_number AS row, household_id, store_id, basket_id, product_id, quantity,
               CAST(round(sales_value * 100) AS BIGINT) AS sales_cents,
               CAST(round(retail_disc * 100) AS BIGINT) AS retail_cents,
               CAST(round(coupon_disc * 100) AS BIGINT) AS coupon_cents,
               CAST(round(coupon_match_disc * 100) AS BIGINT) AS match_cents,
               coalesce(p.department, '{retail.UNKNOWN}') AS department,
               p.product_id IS NOT NULL AS known
        FROM read_parquet('{source("transactions")}', file_row_number = true) t
        LEFT JOIN read_parquet('{source("products")}') p USING (product_id)
        WHERE t.file_row_number IN (SELECT row FROM sent_in)
        """  # noqa: S608
    )
    db.execute(
        """
        CREATE OR REPLACE TEMP TABLE received AS
        SELECT *, row_number() OVER (PARTITION BY partition ORDER BY "offset") AS n FROM raw_in;
        CREATE OR REPLACE TEMP TABLE sent AS
        SELECT * EXCLUDE (i), row_number() OVER (PARTITION BY partition ORDER BY i) AS n
        FROM (SELECT *, row_number() OVER () AS i FROM sent_in);
        CREATE OR REPLACE TABLE record AS
        SELECT partition, r."offset", r.ts, r.crc, s.kind, s.pass, s.row, s.event_ms
        FROM received r JOIN sent s USING (partition, n) WHERE r.crc = s.crc;
        CREATE OR REPLACE TABLE unexplained AS
        SELECT partition, n, CASE WHEN r.crc IS NULL THEN 'sent, not received'
                                  WHEN s.crc IS NULL THEN 'received, not sent' ELSE 'bytes differ' END AS problem
        FROM received r FULL JOIN sent s USING (partition, n) WHERE r.crc IS DISTINCT FROM s.crc;
        """
    )


def decide(db: Database, lateness_ms: int) -> None:
    """Table `expected`: one row per record with `verdict`, `reason`, and `outcome` where the verdict is valid.

    Lateness by DESIGN R6a: the watermark before a record is the largest min(event time, append time) over the
    partition's earlier valid records that are no duplicates.
    """
    kinds = ", ".join(f"('{k}', '{v}', '{r}')" for k, (v, r) in retail.BAD_INPUT.items())
    db.execute(
        f"""
        CREATE OR REPLACE TABLE expected AS
        WITH bad(kind, verdict, reason) AS (VALUES {kinds}),
        judged AS (
            SELECT r.*, b.kind IS NOT NULL AS malformed, {retail.QUARANTINED} AS rule,
                   coalesce(nullif(b.verdict, 'valid'), if(rule IS NULL, 'valid', 'quarantined')) AS verdict,
                   coalesce(nullif(b.reason, ''), rule, '') AS reason
            FROM record r JOIN item USING (row) LEFT JOIN bad b ON b.kind = r.kind
        ),
        first_seen AS (
            SELECT partition, "offset",
                   row_number() OVER (PARTITION BY partition, pass, row, CASE WHEN malformed THEN "offset" END
                                      ORDER BY "offset") > 1 AS repeated
            FROM judged WHERE verdict = 'valid'
        ),
        timed AS (
            SELECT j.*, f.repeated,
                   max(CASE WHEN NOT f.repeated THEN least(event_ms, ts) END)
                     OVER (PARTITION BY partition ORDER BY "offset"
                           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS watermark
            FROM judged j LEFT JOIN first_seen f USING (partition, "offset")
        )
        SELECT * EXCLUDE (rule, malformed, repeated),
               CASE WHEN verdict != 'valid' THEN NULL WHEN repeated THEN 'duplicate'
                    WHEN event_ms + {int(lateness_ms)} <= watermark THEN 'late' ELSE 'counted' END AS outcome
        FROM timed
        """  # noqa: S608
    )


def contradictions(db: Database) -> list[tuple[Any, ...]]:
    """Records whose outcome is not what the injector meant: (kind, outcome, records). Must be empty."""
    return db.execute(
        """
        SELECT kind, outcome, count(*) FROM expected
        WHERE verdict = 'valid' AND outcome IS DISTINCT FROM CASE kind
            WHEN 'late_beyond' THEN 'late' WHEN 'duplicate' THEN 'duplicate' ELSE 'counted' END
        GROUP BY ALL ORDER BY ALL
        """
    ).fetchall()


def misjudged(db: Database, judged: pa.Table) -> list[tuple[Any, ...]]:
    """Raw records whose verdict, reason, time or bytes in `judged` are not the expected ones; first ten.

    *Shape*: (partition, offset, kind, expected verdict, expected reason, verdict, reason).
    """
    db.register("judged_in", judged)
    return db.execute(
        """
        SELECT coalesce(e.partition, j.partition), coalesce(e."offset", j.src), e.kind, e.verdict, e.reason,
               j.verdict, j.reason
        FROM expected e FULL JOIN judged_in j ON j.partition = e.partition AND j.src = e."offset"
        WHERE (e.verdict, e.reason, e.ts, e.crc) IS DISTINCT FROM (j.verdict, j.reason, j.ts, j.crc)
        ORDER BY ALL LIMIT 10
        """
    ).fetchall()


def mislanded(db: Database, landed: pa.Table) -> list[tuple[Any, ...]]:
    """Received records not landed exactly once with the same bytes, key, headers and time; rows landed beyond them.

    *Shape*: (partition, offset, rows landed), the first ten.
    """
    db.register("landed_in", landed)
    return db.execute(
        """
        SELECT coalesce(r.partition, l.partition), coalesce(r."offset", l."offset"), coalesce(l.n, 0)
        FROM raw_in r FULL JOIN (
            SELECT partition, "offset", count(*) AS n, any_value(ts) AS ts, any_value(crc) AS crc,
                   any_value(rest) AS rest
            FROM landed_in GROUP BY ALL) l ON l.partition = r.partition AND l."offset" = r."offset"
        WHERE (r.ts, r.crc, r.rest, 1) IS DISTINCT FROM (l.ts, l.crc, l.rest, l.n)
        ORDER BY ALL LIMIT 10
        """
    ).fetchall()
