"""The lake's oracle: tables without a fault are equal in every row, and the smallest lie in one of them is noticed.

DuckDB's own tables stand in for Iceberg's; those are read in `test_lake_prove.py`.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from retail_log import RetailLog, decided, retail_log

from devstack.lake.prove import disagreements
from devstack.oracle import retail
from devstack.oracle.lake import (
    Due,
    Layer,
    compare_bronze,
    compare_gold,
    compare_silver,
    due_of_agree,
    metadata_location,
)
from devstack.oracle.outcomes import Database
from devstack.oracle.windows import GOLD_SKETCHED, expect_gold

COMPARE: dict[str, Callable[[Database], Layer]] = {
    "bronze": compare_bronze,
    "silver": compare_silver,
    "gold": compare_gold,
}


MADE = ("expected", "lake_bronze", "lake_silver", "lake_gold")


@pytest.fixture(scope="module")
def made() -> Iterator[Database]:
    """What was sent, and a faultless lake of it."""
    log = retail_log(2_000)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        decided(log, connection)
        _bronze(connection, log)
        _silver(connection)
        _gold(connection)
        for table in MADE:
            connection.execute(f"CREATE TABLE kept_{table} AS FROM {table}")
        yield connection


@pytest.fixture
def db(made: Database) -> Database:
    """As it was made, whatever another test did to it."""
    for table in MADE:
        made.execute(f"CREATE OR REPLACE TABLE {table} AS FROM kept_{table}")
    compare_silver(made)
    return made


def _bronze(db: Database, log: RetailLog) -> None:
    following: Counter[int] = Counter()
    values = []
    for record in log.sent:
        values.append({"partition": record.partition, "offset": following[record.partition], "value": record.value})
        following[record.partition] += 1
    db.register("raw_values", pa.Table.from_pylist(values))
    db.execute(
        """CREATE TABLE lake_bronze AS
           SELECT partition, "offset", to_timestamp(ts / 1000) AS ts, verdict, nullif(reason, '') AS reason, value
           FROM expected JOIN raw_values USING (partition, "offset")"""
    )


def _silver(db: Database) -> None:
    """Of every event the earliest: here all records were appended at once, so the least partition and offset."""
    malformed = ", ".join(f"'{kind}'" for kind in retail.BAD_INPUT)
    db.execute(
        f"""CREATE TABLE lake_silver AS
            SELECT if(kind IN ({malformed}), 'made up',
                      concat_ws('-', 'cj' || pass, row, basket_id, product_id)) AS df_id,
                   to_timestamp(event_ms / 1000) AS df_time, to_timestamp(ts / 1000) AS df_ts,
                   partition AS df_partition, "offset" AS df_offset, household_id, store_id, basket_id, product_id,
                   quantity, (sales_cents / 100)::DECIMAL(18, 2) AS sales_value,
                   (retail_cents / 100)::DECIMAL(18, 2) AS retail_disc,
                   (coupon_cents / 100)::DECIMAL(18, 2) AS coupon_disc,
                   (match_cents / 100)::DECIMAL(18, 2) AS coupon_match_disc,
                   nullif(department, '{retail.UNKNOWN}') AS dim_department
            FROM expected JOIN item USING (row) WHERE outcome IN ('counted', 'late')"""  # noqa: S608
    )


def _gold(db: Database) -> None:
    compare_silver(db)  # makes `event`
    expect_gold(db)
    rows = db.execute(
        "SELECT event_ms, household_id, basket_id, sales_cents, product_id, department FROM fact"
    ).fetchall()
    gold: list[tuple[Any, ...]] = []
    for metric, by, window, start, label, top, bottom in db.execute("FROM want").fetchall():
        value: float | None = None
        shown: str | None = None
        if metric in retail.EXACT:
            value = top / 10 ** retail.EXACT[metric].scale if bottom is None else top / bottom if bottom else None
        else:
            inside = [row for row in rows if start <= row[0] < start + GOLD_SKETCHED[window]]
            value, shown = _sketched(metric, inside)
        gold.append((metric, [by] if by else [], [label] if by else [], window, start, value, top, bottom, shown))
    columns = [pa.array(column) for column in zip(*gold, strict=True)]
    names = ["metric", "by", "labels", "window", "start_ms", "value", "top", "bottom", "shown"]
    db.register("gold_in", pa.table(columns, names=names))
    db.execute(
        """CREATE TABLE lake_gold AS
           SELECT metric, "by"::VARCHAR[] AS "by", labels::VARCHAR[] AS labels, "window",
                  to_timestamp(start_ms / 1000) AS start, value, top::DECIMAL(38, 0) AS top,
                  bottom::DECIMAL(38, 0) AS bottom, shown FROM gold_in"""
    )


def _sketched(metric: str, rows: list[tuple[Any, ...]]) -> tuple[float | None, str | None]:
    if metric in retail.DISTINCT:
        return float(len({row[2 if metric == "orders" else 1] for row in rows})), None
    if metric in retail.QUANTILES:
        ordered = sorted(row[3] / 100 for row in rows)
        return None, json.dumps(
            {f"p{q}": ordered[min(len(ordered) - 1, len(ordered) * q // 100)] for q in (50, 90, 99)}
        )
    counts = Counter(str(row[4 if metric == "top_products" else 5]) for row in rows)
    counts.pop(retail.UNKNOWN, None)
    best = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[: retail.TOP_SIZE]
    return None, json.dumps([{"item": item, "estimate": n, "lower": n, "upper": n} for item, n in best])


def test_a_faultless_lake_is_equal_in_every_row(db: Database) -> None:
    layers = {name: compare(db) for name, compare in COMPARE.items()}
    assert [layer.first for layer in layers.values()] == [[], [], []]
    assert all(layer.agrees for layer in layers.values())
    assert layers["bronze"].compared > layers["silver"].compared > 1_500
    metrics = {metric for (metric,) in db.execute("SELECT DISTINCT metric FROM gold_compared").fetchall()}
    assert metrics == {*retail.EXACT, *retail.DISTINCT, *retail.QUANTILES, *retail.TOP}


@pytest.mark.parametrize(
    ("layer", "lie"),
    [
        ("bronze", "ts = ts + INTERVAL 1 MILLISECOND"),
        ("bronze", "value = encode('{}')"),
        ("bronze", "verdict = 'undecodable'"),
        ("bronze", "reason = 'else'"),
        ("silver", "sales_value = sales_value + 0.01"),
        ("silver", "coupon_match_disc = coupon_match_disc + 0.01"),
        ("silver", "df_time = df_time + INTERVAL 1 MILLISECOND"),
        ("silver", "df_id = 'cj1-0-0-0'"),
        ("silver", "dim_department = 'NOWHERE'"),
        ("silver", "household_id = household_id + 1"),
        ("gold", "top = top + 1"),
        ("gold", "value = value * 1.000001 + 0.000001"),
    ],
)
def test_one_wrong_row_is_noticed(db: Database, layer: str, lie: str) -> None:
    which = (
        "metric = 'revenue'" if layer == "gold" else "df_id != 'made up'" if layer == "silver" else "verdict = 'valid'"
    )
    db.execute(f"UPDATE lake_{layer} SET {lie} WHERE rowid = (SELECT min(rowid) FROM lake_{layer} WHERE {which})")  # noqa: S608
    found = COMPARE[layer](db)
    assert (found.different, found.missing, found.extra) == (1, 0, 0), found.first
    assert len(found.first) == 1
    assert not found.agrees


@pytest.mark.parametrize("layer", [*COMPARE])
def test_a_row_that_is_lost_or_there_twice_is_noticed(db: Database, layer: str) -> None:
    db.execute(f"INSERT INTO lake_{layer} SELECT * FROM lake_{layer} LIMIT 1")  # noqa: S608
    doubled = COMPARE[layer](db)
    assert (doubled.different, doubled.missing, doubled.extra) == (0, 0, 1)
    some = f"(SELECT rowid FROM lake_{layer} ORDER BY rowid DESC LIMIT 2)"  # noqa: S608
    db.execute(f"DELETE FROM lake_{layer} WHERE rowid IN {some}")  # noqa: S608 - the double and one more
    lost = COMPARE[layer](db)
    assert (lost.different, lost.missing, lost.extra) == (0, 1, 0)


@pytest.mark.parametrize("metric", ["line_value", "top_products", "orders"])
def test_a_sketch_beyond_its_error_is_noticed(db: Database, metric: str) -> None:
    lie = "value = value * 1.05 + 2" if metric == "orders" else "shown = '[]'"
    db.execute(f"""UPDATE lake_gold SET {lie} WHERE metric = '{metric}' AND "window" = '1d'""")  # noqa: S608
    found = compare_gold(db)
    assert found.different == sum(row["metric"] == metric for row in found.first) > 0


def test_what_agree_must_say_is_what_late_events_change(db: Database) -> None:
    due = due_of_agree(db)
    late = db.execute("SELECT count(*) FROM event WHERE outcome = 'late'").fetchall()[0][0]
    assert late > 10
    assert 3 * late < due.least < due.most < due.windows
    db.execute("UPDATE expected SET outcome = 'counted' WHERE outcome = 'late'")
    compare_silver(db)
    nothing_late = due_of_agree(db)
    assert (nothing_late.least, nothing_late.most) == (0, 0)
    assert nothing_late.windows <= due.windows


def test_whatever_does_not_fit_is_a_problem() -> None:
    fits = Layer(9, 9, 0, 0, 0, [])
    report, sales = {"compared": 100, "unexplained": 0, "explained": 12, "corrected": 3}, {"oracle": 5, "gold": 5}
    assert disagreements({"gold": fits}, sales, report, Due(100, 15, 20)) == []
    for layers, cents, said, due in (
        ({"gold": replace(fits, equal=8, different=1)}, sales, report, Due(100, 15, 20)),
        ({"gold": Layer(0, 0, 0, 0, 0, [])}, sales, report, Due(100, 15, 20)),
        ({"gold": fits}, {"oracle": 5, "gold": 6}, report, Due(100, 15, 20)),
        ({"gold": fits}, sales, report | {"unexplained": 1}, Due(100, 15, 20)),
        ({"gold": fits}, sales, report, Due(101, 15, 20)),
        ({"gold": fits}, sales, report, Due(100, 16, 20)),
        ({"gold": fits}, sales, report, Due(100, 10, 14)),
    ):
        assert len(disagreements(layers, cents, said, due)) == 1


def test_a_catalog_that_is_not_there_names_no_table(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.db"
    assert metadata_location(catalog, "retail", "gold") is None
    with sqlite3.connect(catalog) as db:
        db.execute("CREATE TABLE iceberg_tables (table_namespace, table_name, metadata_location)")
        db.execute("INSERT INTO iceberg_tables VALUES ('retail', 'gold', 's3://b/lake/1')")
    assert metadata_location(catalog, "retail", "gold") == "s3://b/lake/1"
    assert metadata_location(catalog, "retail", "silver") is None
