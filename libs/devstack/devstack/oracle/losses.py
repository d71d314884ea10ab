"""How many records each stage has lost, has twice, or has otherwise than it should. SQL over `outcomes.decide`."""

from dataclasses import dataclass

import pyarrow as pa

from devstack.oracle.outcomes import Database

_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Losses:
    """*Units*: records; `wrong` are there once, with other bytes, another time or another outcome."""

    lost: int = 0
    doubled: int = 0
    wrong: int = 0

    @property
    def none(self) -> bool:
        return self == Losses()


def sent(db: Database) -> Losses:
    """What was sent against what the raw log holds. *Needs* `load`."""
    found = dict(db.execute("SELECT problem, count(*) FROM unexplained GROUP BY 1").fetchall())
    return Losses(found.get("sent, not received", 0), found.get("received, not sent", 0), found.get("bytes differ", 0))


def landed(db: Database, log: pa.Table, rows: pa.Table) -> Losses:
    """The records of a topic (`RAW`) against the rows of its landing objects (`LANDED`)."""
    db.register("log_in", log)
    db.register("rows_in", rows)
    return _count(
        db,
        """SELECT l.partition IS NOT NULL AS due, coalesce(r.n, 0) AS n,
                  (l.ts, l.crc, l.rest) = (r.ts, r.crc, r.rest) AS same
           FROM log_in l FULL JOIN (
               SELECT partition, "offset", count(*) AS n, any_value(ts) AS ts, any_value(crc) AS crc,
                      any_value(rest) AS rest
               FROM rows_in GROUP BY ALL) r ON r.partition = l.partition AND r."offset" = l."offset"
        """,
    )


def judged(db: Database, rows: pa.Table) -> Losses:
    """One accepted verdict per raw record, the expected one (`JUDGED`). *Needs* `decide`."""
    db.register("rows_in", rows)
    return _count(
        db,
        """SELECT e.partition IS NOT NULL AS due, coalesce(r.n, 0) AS n,
                  (e.verdict, e.reason, e.ts, e.crc) = (r.verdict, r.reason, r.ts, r.crc) AS same
           FROM expected e FULL JOIN (
               SELECT partition, src, count(*) AS n, any_value(verdict) AS verdict, any_value(reason) AS reason,
                      any_value(ts) AS ts, any_value(crc) AS crc
               FROM rows_in GROUP BY ALL) r ON r.partition = e.partition AND r.src = e."offset"
        """,
    )


def quarantined(db: Database, rows: pa.Table) -> Losses:
    """Every record that is not valid has a copy (`QUARANTINED`); readers keep the first one of a key."""
    db.register("rows_in", rows)
    return _count(
        db,
        """SELECT e.partition IS NOT NULL AS due, coalesce(r.n, 0) AS n, e.crc = r.crc AS same
           FROM (FROM expected WHERE verdict != 'valid') e FULL JOIN (
               SELECT partition, src, 1 AS n, if(min(crc) = max(crc), min(crc), -1) AS crc
               FROM rows_in GROUP BY ALL) r ON r.partition = e.partition AND r.src = e."offset"
        """,
    )


def counted(db: Database, ledger: pa.Table) -> Losses:
    """The ledger (`LEDGER`) against the expected outcomes, per partition, minute, outcome and reason.

    A record under a wrong outcome is lost by one and doubled by the other.
    """
    db.register("ledger_in", ledger)
    query = f"""
        WITH due AS (
            SELECT partition, ts - ts % {_MINUTE_MS} AS minute_ms, coalesce(outcome, verdict) AS outcome,
                   reason, count(*) AS records
            FROM expected GROUP BY ALL)
        SELECT coalesce(sum(greatest(coalesce(d.records, 0) - coalesce(l.records, 0), 0)), 0)::BIGINT,
               coalesce(sum(greatest(coalesce(l.records, 0) - coalesce(d.records, 0), 0)), 0)::BIGINT
        FROM due d FULL JOIN ledger_in l USING (partition, minute_ms, outcome, reason)"""  # noqa: S608
    [(lost, doubled)] = db.execute(query).fetchall()
    return Losses(lost, doubled)


def _count(db: Database, pairs: str) -> Losses:
    """`pairs`: rows of (due, n found, same)."""
    query = f"""SELECT count(*) FILTER (due AND n = 0), coalesce(sum(n - due::INT) FILTER (n > due::INT), 0)::BIGINT,
                       count(*) FILTER (due AND n > 0 AND same IS NOT true) FROM ({pairs})"""  # noqa: S608
    [(lost, doubled, wrong)] = db.execute(query).fetchall()
    return Losses(lost, doubled, wrong)
