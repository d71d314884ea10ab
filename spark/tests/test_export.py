"""The lake's tables in a real Postgres: all of them, once, whatever ends a run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from pyspark.sql import SparkSession

from dataforge.contracts.model import Domain
from dataforge.errors import Fatal

from devstack.lake.jobs import SPARK
from devstack.paths import repo_root
from devstack.testing.postgres import postgres
from lake import tables
from lake.jobs.export import Export
from lake.jobs.gold import Gold
from lake.jobs.lookups import Lookups
from lake.jobs.silver import Silver, at
from lake.position import head, head_at
from lake.postgres import CURATED, Target, opened
from lake.schema import Column
from lake.settings import LakeSettings
from orders import CATEGORIES, PARTITIONS, SMALL, drawn, judged, orders_domain, parts
from worlds import ALL, World

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgres() as address:
        yield address


def export(world: World, url: str, domain: Domain, rows: int = ALL) -> dict[str, int]:
    return Export(world.spark, url, rows, world.said.append).run(domain, world.event)


def held(url: str, table: str) -> Rows:
    with psycopg.connect(url) as db:
        db.execute("SET TimeZone = 'UTC'")
        return (
            db.cursor(row_factory=dict_row)
            .execute(sql.SQL("TABLE {}").format(sql.Identifier(*table.split("."))))
            .fetchall()
        )


def demand_all(world: World, url: str, domain: Domain) -> None:
    """Postgres has the rows of bronze, silver and gold's days, as they are at gold's position."""
    gold = head(world.spark, tables.gold(world.event.contract))
    positions = {p: place.position for p, place in gold.places.items()}
    silver = head_at(world.spark, tables.silver(world.event), positions)
    assert silver is not None
    bronze_rows = world.spark.table(tables.bronze(world.event.contract).name).collect()
    expected = {
        f"raw.{domain.name}_bronze_order_v1": [
            row.asDict() for row in bronze_rows if row["judged_offset"] < positions.get(row["partition"], 0)
        ],
        f"curated.{domain.name}_silver_order_v1": [
            {name: value for name, value in row.asDict().items() if name != "df_replaced"}
            for row in at(world.spark, tables.silver(world.event), silver).collect()
        ],
        f"curated.{domain.name}_gold_order_v1": [
            row.asDict()
            for row in world.spark.table(tables.gold(world.event.contract).name).where("`window` = '1d'").collect()
        ],
    }
    for table, rows in expected.items():
        assert rows, f"{table} is to hold something"
        assert plain(held(url, table)) == plain(rows), table


def plain(rows: Rows) -> list[str]:
    """In one order. Instants without their zone, which is UTC; bytes as one type; numbers of one value alike."""
    return sorted(repr(sorted((name, _plain(value)) for name, value in row.items())) for row in rows)


def _plain(value: Any) -> Any:
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value


def test_an_export_in_portions_is_the_lake_and_a_second_one_adds_nothing(world: World, url: str, small_domain: Domain):
    sent = drawn(31, 400)
    logs = [judged(part, zombie=True) for part in parts(sent)]
    halves = [len(log) // 2 for log in logs]
    world.land([log[:half] for log, half in zip(logs, halves, strict=True)], 1_000)
    world.run()
    Lookups(world.spark, world.said.append).run(small_domain)
    first = export(world, url, small_domain, rows=60)
    demand_all(world, url, small_domain)
    assert first["lookups"] == len(CATEGORIES)
    found = held(url, f"curated.{small_domain.name}_lookup_products")
    assert {row["sku"]: row["category"] for row in found} == CATEGORIES
    assert set(export(world, url, small_domain).values()) == {0}
    world.land(logs, 1_000, after=halves)
    world.bronze.run(world.event, PARTITIONS)
    world.silver.run(world.event)
    assert set(export(world, url, small_domain).values()) == {0}, "what gold has not seen was exported"
    world.gold.run(world.event)
    second = export(world, url, small_domain)
    assert first["raw"] + second["raw"] == len(sent)
    demand_all(world, url, small_domain)


def test_a_table_that_was_made_anew_is_loaded_anew(world: World, url: str, small_domain: Domain):
    world.land([judged(part) for part in parts(drawn(32, 120))], 1_000)
    world.run()
    export(world, url, small_domain)
    for table in (tables.silver(world.event), tables.gold(world.event.contract)):
        world.spark.sql(f"DROP TABLE {table.name} PURGE")
    with psycopg.connect(url) as db:  # what a silver of another making could have had
        silver = sql.Identifier("curated", f"{small_domain.name}_silver_order_v1")
        db.execute(sql.SQL("UPDATE {} SET customer = 'nobody'").format(silver))
    Silver(world.spark, ALL, world.said.append).run(world.event)
    Gold(world.spark, world.said.append).run(world.event)
    assert export(world, url, small_domain)["raw"] == 0
    demand_all(world, url, small_domain)


def test_a_lookup_is_made_anew_only_where_it_has_changed(
    spark: SparkSession, tmp_path: Path, say: Callable[[str], None]
):
    domain = orders_domain(tmp_path / "orders_lookups", SMALL)
    job = Lookups(spark, say)
    assert (job.run(domain), job.run(domain)) == (1, 0)
    (domain.folder / "products.csv").write_text("sku,category\nA1,soup\n")
    assert job.run(domain) == 1
    rows = spark.table(tables.lookup(domain.name, "products")).collect()
    assert [row.asDict() for row in rows] == [{"sku": "A1", "category": "soup"}]


def test_of_two_exports_one_is_refused(url: str):
    with opened(url), pytest.raises(Fatal, match="another export is at work"), opened(url):
        pytest.fail("two writers")


def test_a_text_may_hold_what_postgres_has_no_letter_for_and_a_changed_type_is_refused(spark: SparkSession, url: str):
    columns = (Column("id", "string"), Column("said", "array<string>"))
    rows = spark.createDataFrame([("a\0b", ["\0", "c"]), ("plain", [])], "id string, said array<string>")
    target = Target(CURATED, "letters", columns, ("id",))
    with opened(url) as db:
        db.ensure(target)
        assert db.load(rows, target, "1", whole=False) == 2
        assert db.ensure(Target(CURATED, "letters", (*columns, Column("more", "decimal(18,2)")), ("id",))) == "1"
        with pytest.raises(Fatal, match="'id' is text, and the lake's is bigint"):
            db.ensure(Target(CURATED, "letters", (Column("id", "bigint"),), ("id",)))
    assert sorted((row["id"], row["said"]) for row in held(url, "curated.letters")) == [
        ("a\ufffdb", ["\ufffd", "c"]),
        ("plain", []),
    ]


def test_an_export_that_is_killed_in_the_middle_loses_nothing_and_adds_nothing_twice(
    spark: SparkSession, lake_settings: LakeSettings, environment: dict[str, str], url: str, tmp_path: Path
):
    folder = tmp_path / "killed_export"
    domain = orders_domain(folder, SMALL)
    world = World(spark, lake_settings, domain)
    world.land([judged(part) for part in parts(drawn(33, 600))], 1_000)
    world.run()
    env = {
        **os.environ,
        **environment,
        "DATAFORGE_DOMAINS": str(folder),
        "DATAFORGE_LAKE_COMMIT_ROWS": "20",
        "DATAFORGE_LAKE_POSTGRES_URL": url,
        "PYTHONPATH": os.pathsep.join((str(SPARK), str(repo_root() / "libs" / "common"))),
    }
    log = (tmp_path / "log").open("w")
    command = [sys.executable, "-m", "lake", "run", "export"]
    running = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait_for_rows(url, f"raw.{domain.name}_bronze_order_v1", 60, running, tmp_path / "log")
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        log.close()
    torn = len(held(url, f"raw.{domain.name}_bronze_order_v1"))
    assert torn < 600, "not killed in the middle"
    done = export(world, url, domain)
    assert done["raw"] == 600 - torn
    demand_all(world, url, domain)
    with psycopg.connect(url) as db:
        left = db.execute("SELECT count(*) FROM pg_tables WHERE starts_with(tablename, 'df_incoming_')").fetchone()
    assert left == (0,)


def _wait_for_rows(url: str, table: str, rows: int, running: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    with psycopg.connect(url, autocommit=True) as db:
        while True:
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            there = db.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchone() == (True,)
            if there and len(held(url, table)) >= rows:
                return
            time.sleep(0.01)
