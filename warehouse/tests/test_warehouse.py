"""The star over a small real lake, held against the source data by other code than the models'."""

import json
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dataforge.contracts.load import load_domain
from dataforge.contracts.model import MeasureKind

import small_log
from devstack.replay.purchases import source
from small_lake import TABLES, Lake
from small_log import event_id

pytestmark = pytest.mark.timeout(900)  # the first one waits for the lake, and for environments that are not there

Purchase = dict[str, Any]
Row = tuple[Any, ...]


@pytest.fixture
def star(on_duckdb: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(on_duckdb), read_only=True) as db:
        yield db


@pytest.fixture
def lines(lake: Lake) -> list[Purchase]:
    """What is to be counted: the domain's own rule leaves out a purchase of nothing."""
    return [one for one in lake.shown if one["quantity"] >= 1]


def test_facts_are_the_lines_of_the_source(star: duckdb.DuckDBPyConnection, lines: list[Purchase]):
    found = star.execute(
        """SELECT transaction_key, epoch_ms(occurred_at), household_id, store_id, basket_id, product_id, quantity,
                  (sales_value * 100)::BIGINT, (retail_disc * 100)::BIGINT, (coupon_disc * 100)::BIGINT,
                  (coupon_match_disc * 100)::BIGINT
           FROM fact_transactions"""
    ).fetchall()
    names = ("household_id", "store_id", "basket_id", "product_id", "quantity")
    cents = ("sales_cents", "retail_cents", "coupon_cents", "match_cents")
    expected = [(event_id(one), one["bought_ms"], *(one[n] for n in (*names, *cents))) for one in lines]
    assert len(lines) > 500
    assert sorted(found) == sorted(expected)


def test_every_record_has_the_outcome_that_it_must_have(
    star: duckdb.DuckDBPyConnection, lake: Lake, lines: list[Purchase]
):
    found = dict(star.execute("SELECT outcome, count(*) FROM fact_events GROUP BY outcome").fetchall())
    kept, seen, expected = {event_id(one) for one in lines}, set(), Counter()
    for one in lake.sent:
        try:
            name = json.loads(one.value)["event_id"]
        except json.JSONDecodeError:
            expected["undecodable"] += 1
            continue
        expected["quarantined" if name not in kept else "duplicate" if name in seen else "kept"] += 1
        seen.add(name)
    assert found == expected
    assert len(found) == 4, "a log with every outcome was asked for"
    reasons = star.execute("SELECT DISTINCT reason FROM fact_events WHERE outcome = 'quarantined'").fetchall()
    assert reasons == [("no_units",)]


def test_dimensions_are_the_reference_tables_and_what_was_seen(star: duckdb.DuckDBPyConnection, lines: list[Purchase]):
    products = star.execute("SELECT product_id FROM read_parquet(?)", [str(source("products"))]).fetchall()
    known = {product for (product,) in products}
    sold = {one["product_id"] for one in lines}
    found = star.execute(
        "SELECT product_id, is_known, is_sold, department = '__unknown__' FROM dim_products"
    ).fetchall()
    assert {row[0] for row in found} == known | sold
    assert len(found) == len(known | sold)
    assert {row[0] for row in found if row[1]} == known
    assert {row[0] for row in found if row[2]} == sold
    assert all(unknown for _, is_known, _, unknown in found if not is_known)
    stores: dict[int, list[Purchase]] = defaultdict(list)
    for one in lines:
        stores[one["store_id"]].append(one)
    assert sorted(
        (store, min(p["bought_ms"] for p in of), max(p["bought_ms"] for p in of), len({p["basket_id"] for p in of}))
        for store, of in stores.items()
    ) == sorted(
        star.execute(
            "SELECT store_id, epoch_ms(first_seen_at), epoch_ms(last_seen_at), baskets FROM dim_stores"
        ).fetchall()
    )
    hours, days = star.execute("SELECT count(*), count(DISTINCT day) FROM dim_time").fetchone() or (0, 0)
    assert (hours, days) == (24 * 31, 31), "30 January to 1 March"


def test_users_have_the_history_that_their_purchases_tell(star: duckdb.DuckDBPyConnection, lines: list[Purchase]):
    found = star.execute(
        """SELECT household_id, strftime(valid_from, '%Y-%m'), home_store_id, spend_tier
           FROM dim_users ORDER BY household_id, version"""
    ).fetchall()
    expected = [
        version for household in sorted({one["household_id"] for one in lines}) for version in _told(lines, household)
    ]
    assert found == expected
    versions = Counter(row[0] for row in found)
    assert max(versions.values()) == 3, "some household changes twice"
    assert min(versions.values()) == 1, "some household never does"
    misplaced = star.execute(
        """SELECT count(*) FROM fact_transactions JOIN dim_users USING (user_key)
           WHERE occurred_at < valid_from OR occurred_at >= coalesce(valid_to, DATE '9999-01-01')"""
    ).fetchone()
    assert misplaced == (0,)
    income = star.execute(
        f"""SELECT count(*) FROM dim_users JOIN '{source("demographics")}' AS d USING (household_id)
            WHERE d.income IS DISTINCT FROM dim_users.income OR NOT has_demographics"""  # noqa: S608
    ).fetchone()
    assert income == (0,)


MONTHS = ("2017-01", "2017-02", "2017-03")


def _told(lines: Sequence[Purchase], household: int) -> Iterator[Row]:
    """The versions of one household, month after month."""
    last: Row | None = None
    before: list[Purchase] = []
    for month in MONTHS:
        if before:
            baskets = {
                store: len({p["basket_id"] for p in before if p["store_id"] == store}) for store in _stores(before)
            }
            spent = {
                store: sum(p["sales_cents"] for p in before if p["store_id"] == store) for store in _stores(before)
            }
            home = min(baskets, key=lambda store: (-baskets[store], -spent[store], store))
            total = sum(spent.values())
            now: Row | None = (home, "light" if total < 5_000 else "regular" if total < 20_000 else "heavy")
        else:
            now = last
        before = [one for one in lines if one["household_id"] == household and one["occurred_at"][:7] == month]
        if now is None and before:
            now = (None, "new")
        if now is not None and now != last:
            yield (household, month, *now)
            last = now


def _stores(purchases: Sequence[Purchase]) -> set[int]:
    return {one["store_id"] for one in purchases}


def test_kpis_are_those_of_the_source(star: duckdb.DuckDBPyConnection, lines: list[Purchase]):
    found = star.execute(
        """SELECT strftime(day, '%Y-%m-%d'), metric,
                  (top * CASE WHEN metric IN ('revenue', 'discount_rate') THEN 100 ELSE 1 END)::BIGINT,
                  (bottom * 100)::BIGINT
           FROM metrics_daily_kpis WHERE dimension = 'total'"""
    ).fetchall()
    expected: list[Row] = []
    for day in sorted({one["occurred_at"][:10] for one in lines}):
        of = [one for one in lines if one["occurred_at"][:10] == day]
        discount = sum(one["retail_cents"] + one["coupon_cents"] + one["match_cents"] for one in of)
        revenue = sum(one["sales_cents"] for one in of)
        expected += [
            (day, "revenue", revenue, None),
            (day, "units", sum(one["quantity"] for one in of), None),
            (day, "discount_rate", discount, revenue + discount),
            (day, "orders", len({one["basket_id"] for one in of}), None),
            (day, "customers", len({one["household_id"] for one in of}), None),
        ]
    assert sorted(found) == sorted(expected)


def test_kpis_are_all_that_the_domain_has_and_can_be_told_exactly(star: duckdb.DuckDBPyConnection):
    [event] = load_domain(small_log.DOMAIN).events
    told = {
        (metric.name, ",".join(by) or "total")
        for metric in event.metrics.values()
        if metric.measure.kind not in (MeasureKind.QUANTILES, MeasureKind.TOP_K)
        for by in metric.by
    }
    assert set(star.execute("SELECT DISTINCT metric, dimension FROM metrics_daily_kpis").fetchall()) == told


def test_postgres_holds_the_same_star(on_duckdb: Path, on_postgres: Path):
    assert different(on_duckdb, on_postgres) == {}


def test_athenas_statements_make_the_same_star(lake: Lake, on_duckdb: Path):
    """dbt compiles them for Athena's adapter; sqlglot reads them as Athena's and DuckDB runs what it understood."""
    target = lake.said("athena")
    compiled = lake.dbt("compile", "athena", "--no-populate-cache")
    assert compiled.returncode == 0, compiled.stdout
    database = target / "athena.duckdb"
    script = Path(__file__).with_name("athena_on_duckdb.py")
    command = [str(lake.python), str(script), str(target / "manifest.json"), str(database)]
    env = {**lake.env, "PYTHONPATH": str(script.parents[1])}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    ran = json.loads(ended.stdout)
    assert ran["models"] == len(TABLES)
    assert ran["tests"] > 40
    assert different(on_duckdb, database) == {}


def test_a_star_that_lies_fails_its_tests_and_built_again_it_is_the_same(lake: Lake, on_duckdb: Path, tmp_path: Path):
    other = tmp_path / "warehouse.duckdb"
    shutil.copy(on_duckdb, other)
    with duckdb.connect(str(other)) as db:
        db.execute("UPDATE metrics_daily_kpis SET top = top + 0.01 WHERE metric = 'revenue' AND dimension = 'total'")
        db.execute(
            "DELETE FROM fact_transactions WHERE transaction_key = (SELECT min(transaction_key) FROM fact_transactions)"
        )
        db.execute("UPDATE dim_users SET valid_to = valid_from WHERE NOT is_current")
        db.execute("UPDATE fact_events SET outcome = 'lost' WHERE outcome = 'duplicate'")
    here = {"DATAFORGE_WAREHOUSE_DUCKDB": str(other)}
    tested = lake.dbt("test", "duckdb", "--target-path", str(tmp_path / "target"), **here)
    assert tested.returncode == 1, tested.stdout
    results = json.loads((tmp_path / "target" / "run_results.json").read_text())["results"]
    failed = {one["unique_id"].split(".")[2] for one in results if one["status"] != "pass"}
    assert failed >= {"kpis_equal_gold", "facts_equal_silver", "versions_of_a_user_follow_each_other"}
    assert any(name.startswith("accepted_values_fact_events_outcome") for name in failed)
    assert any(name.startswith("relationships_fact_events_transaction_key") for name in failed)
    built = lake.dbt("build", "duckdb", "--target-path", str(tmp_path / "target"), **here)
    assert built.returncode == 0, built.stdout
    assert different(on_duckdb, other) == {}


def test_docs_know_every_column_and_old_data_is_not_fresh(lake: Lake, on_duckdb: Path):
    target = lake.said("duckdb")
    documented = lake.dbt("docs", "duckdb")
    assert documented.returncode == 0, documented.stdout
    catalog = json.loads((target / "catalog.json").read_text())
    nodes = {name.split(".")[-1]: node["columns"] for name, node in (catalog["nodes"] | catalog["sources"]).items()}
    assert nodes.keys() >= {*TABLES, "bronze", "silver", "gold", "products", "households"}
    assert all(nodes.values())
    manifest = json.loads((target / "manifest.json").read_text())
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    assert all(node["description"] for node in models)
    named = {(node["name"], column) for node in models for column in node["columns"]}
    assert named <= {(name, column) for name, columns in nodes.items() for column in columns}, (
        "a column that is not there"
    )
    assert {one["name"] for one in manifest["exposures"].values()} == {"dashboard", "query_api"}
    aged = lake.dbt("freshness", "duckdb")
    assert aged.returncode == 1, "data of 2017 passed for fresh"
    [silver] = json.loads((target / "sources.json").read_text())["results"]
    assert silver["status"] == "error"
    assert silver["max_loaded_at"].startswith("2017-03-01"), "silver as of gold ends the day before"


def different(ours: Path, theirs: Path) -> dict[str, list[Row]]:
    """Table -> some of the rows that one of two databases has, or has more often."""
    found: dict[str, list[Row]] = {}
    with duckdb.connect() as db:
        db.execute(f"ATTACH '{ours}' AS ours (READ_ONLY)")
        db.execute(f"ATTACH '{theirs}' AS theirs (READ_ONLY)")
        for table in TABLES:
            one, other = f"ours.{table}", f"theirs.{table}"
            assert db.table(one).limit(1).fetchall(), f"{table} is empty"
            for more, less in ((one, other), (other, one)):
                rows = db.execute(f"FROM {more} EXCEPT ALL FROM {less} LIMIT 5").fetchall()
                found.setdefault(table, []).extend((more, *row) for row in rows)
    return {table: rows for table, rows in found.items() if rows}
