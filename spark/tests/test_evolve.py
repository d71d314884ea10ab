"""Columns follow the contract, over real tables with rows from before and after."""

import copy
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pyspark.sql import SparkSession

from dataforge.errors import Fatal
from dataforge.stream.judged import Verdict
from dataforge.stream.records import LogRecord

from lake import tables
from lake.evolve import evolution, widens
from lake.schema import Column, quoted
from lake.settings import LakeSettings
from orders import CONTRACT, PARTITIONS, START, Sent, judged, orders_domain
from worlds import World

METRICS = """
lateness: 30s
metrics:
  pieces: {measure: {sum: quantity}, windows: [1m]}
"""
LATER = """
lateness: 30s
metrics:
  pieces: {measure: {sum: quantity}, windows: [1m]}
  postage: {measure: {sum: postage}, windows: [1m]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / f"orders_{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def filled(spark: SparkSession, lake_settings: LakeSettings, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Silver has numbers that not every type holds."""
    world = World(spark, lake_settings, orders_domain(tmp_path_factory.mktemp("domains") / "orders_full", METRICS))
    world.land(log_of({"quantity": 2**53 + 1}, {"quantity": 2**53}, {"quantity": 4}), 100)
    fill(world)
    return world


def fill(world: World) -> None:
    world.bronze.run(world.event, PARTITIONS)
    world.silver.run(world.event)


def changed(**fields: Mapping[str, Any] | None) -> dict[str, Any]:
    """The contract with other fields; None takes one away. What is new is not required."""
    contract = copy.deepcopy(CONTRACT)
    for name, spec in fields.items():
        if spec is None:
            del contract["properties"][name]
            contract["required"] = [one for one in contract["required"] if one != name]
        else:
            contract["properties"][name] = spec
    return contract


def log_of(*events: Mapping[str, Any]) -> list[list[LogRecord]]:
    """Both partitions' judged logs: all of it is in the first."""
    sent: list[Sent] = []
    for n, event in enumerate(events):
        at_ms = START + n * 1_000
        at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
        plain = {"order": f"o-{n}", "at": at, "customer": "c", "sku": "A1", "status": "paid", "amount": 1.5}
        sent.append(Sent(0, n, at_ms, Verdict.VALID, None, json.dumps({**plain, **event}).encode()))
    return [judged(sent), []]


def silver_of(spark: SparkSession, world: World, *columns: str) -> list[tuple[Any, ...]]:
    rows = spark.table(tables.silver(world.event).name).select(*map(quoted, columns))
    return [tuple(row) for row in rows.orderBy("df_offset").collect()]


def gold_of(spark: SparkSession, world: World, metric: str) -> list[Any]:
    rows = spark.table(tables.gold(world.event.contract).name).where(f"metric = '{metric}' AND window = '1d'")
    return [row["top"] for row in rows.orderBy("start").collect()]


def test_rows_from_before_show_under_the_new_columns(spark: SparkSession, lake_settings: LakeSettings, folder: Path):
    """A field is renamed, one is widened from whole numbers, one gets more digits, one is dropped, one is added."""
    before = World(spark, lake_settings, orders_domain(folder, METRICS))
    first = {"quantity": 3, "amount": 2.25, "shipping": 4.125, "gift": True}
    log = log_of(first, {"quantity": 5})
    before.land(log, 100)
    before.run()
    contract = changed(
        quantity={"type": "number", "x-scale": 2}, amount={"type": "number", "x-scale": 4}, gift=None, shipping=None,
        postage={"type": ["number", "null"], "x-scale": 3, "x-renamed-from": "shipping"}, note={"type": "string"},
    )  # fmt: skip
    after = World(spark, lake_settings, orders_domain(folder, LATER, contract))
    assert after.run() == (0, 0, 1), "metrics.yaml has changed: gold is made anew without a new event"
    assert gold_of(spark, after, "pieces") == [800]
    assert gold_of(spark, after, "postage") == [4125]
    second = {"quantity": 0.25, "amount": 7.1234, "postage": 0.001, "note": "fragile"}
    after.land(log_of(first, {"quantity": 5}, second), 100, after=[2, 0])
    after.run()
    rows = silver_of(spark, after, "quantity", "amount", "postage", "gift", "note")
    assert rows == [
        (Decimal("3.00"), Decimal("2.2500"), Decimal("4.125"), True, None),
        (Decimal("5.00"), Decimal("1.5000"), None, None, None),
        (Decimal("0.25"), Decimal("7.1234"), Decimal("0.001"), None, "fragile"),
    ]
    assert gold_of(spark, after, "pieces") == [825]
    assert gold_of(spark, after, "postage") == [4126]
    assert after.run() == (0, 0, 0)
    spark.sql(f"DROP TABLE {tables.silver(after.event).name}")
    after.silver.run(after.event)
    anew = silver_of(spark, after, "quantity", "amount", "postage", "note")
    assert anew == [(*row[:3], row[4]) for row in rows], "silver is a function of bronze, whatever contract wrote it"


def test_a_whole_number_becomes_any_number(spark: SparkSession, lake_settings: LakeSettings, folder: Path):
    before = World(spark, lake_settings, orders_domain(folder, METRICS))
    before.land(log_of({"quantity": 2**53}, {"quantity": -7}), 100)
    fill(before)
    contract = changed(quantity={"type": "number"})
    after = World(spark, lake_settings, orders_domain(folder, "metrics: {}", contract))
    fill(after)
    assert silver_of(spark, after, "quantity") == [(2.0**53,), (-7.0,)]


@pytest.mark.parametrize(
    ("field", "spec", "said"),
    [
        ("amount", {"type": "integer"}, r"'amount' is decimal\(18,2\), and the contract makes it bigint"),
        ("amount", {"type": "number", "x-scale": 1}, r"makes it decimal\(18,1\), which is no wider"),
        ("amount", {"type": "string"}, "makes it string"),
        ("weight", {"type": "number", "x-scale": 2}, "'weight' is double"),
        ("status", {"type": "integer"}, "'status' is string"),
        ("quantity", {"type": "number"}, "1 values of column 'quantity' do not fit into double"),
        (
            "quantity",
            {"type": "number", "x-scale": 9},
            r"2 values of column 'quantity' do not fit into decimal\(18,9\)",
        ),
    ],
)
def test_what_would_lose_something_is_refused(
    spark: SparkSession, filled: World, tmp_path: Path, field: str, spec: dict[str, Any], said: str
):
    """Of a contract that also renames a field, and adds one."""
    table = tables.silver(filled.event).name
    columns = spark.table(table).dtypes
    renamed = {"type": "string", "x-renamed-from": "sku"}
    contract = changed(**{field: spec, "sku": None, "article": renamed, "note": {"type": "string"}})
    domain = orders_domain(tmp_path / filled.event.contract.domain, "metrics: {}", contract)
    with pytest.raises(Fatal, match=said):
        tables.ensure(spark, tables.silver(domain.events[0]))
    assert spark.table(table).dtypes == columns, "something was changed all the same"


@pytest.mark.parametrize("begun", ["added", "filled in part", "dropped"])
def test_a_widening_that_was_interrupted_is_finished(
    spark: SparkSession, lake_settings: LakeSettings, folder: Path, begun: str
):
    before = World(spark, lake_settings, orders_domain(folder, METRICS))
    before.land(log_of({"quantity": 3}, {"quantity": 5}), 100)
    fill(before)
    table = tables.silver(before.event).name
    spark.sql(f"ALTER TABLE {table} ADD COLUMNS (df_wider_quantity decimal(18,2))")
    if begun != "added":
        some = "" if begun == "dropped" else " WHERE quantity = 3"
        spark.sql(f"UPDATE {table} SET df_wider_quantity = quantity{some}")  # noqa: S608
    if begun == "dropped":
        spark.sql(f"ALTER TABLE {table} DROP COLUMN quantity")
    after = World(
        spark, lake_settings, orders_domain(folder, METRICS, changed(quantity={"type": "number", "x-scale": 2}))
    )
    fill(after)
    assert silver_of(spark, after, "quantity") == [(Decimal("3.00"),), (Decimal("5.00"),)]
    assert not [name for name, _ in spark.table(table).dtypes if name.startswith("df_wider_")]


def test_columns_that_a_contract_has_no_longer_stay(spark: SparkSession, lake_settings: LakeSettings, folder: Path):
    newer = World(spark, lake_settings, orders_domain(folder, METRICS, changed(note={"type": "string"})))
    newer.land(log_of({"quantity": 3, "note": "first"}), 100)
    fill(newer)
    older = World(spark, lake_settings, orders_domain(folder, METRICS))
    older.land(log_of({"quantity": 3, "note": "first"}, {"quantity": 4, "note": "nobody reads it"}), 100, after=[1, 0])
    fill(older)
    assert silver_of(spark, newer, "quantity", "note") == [(3, "first"), (4, None)]


@pytest.mark.small
def test_a_column_is_renamed_once():
    columns, older = [Column("c", "bigint"), Column("d", "string")], {"c": ["b", "a"]}
    assert evolution("t", columns, {"a": "bigint"}, older).renamed == [("a", "c")]
    both = evolution("t", columns, {"a": "bigint", "b": "bigint", "d": "string"}, older)
    assert (both.renamed, both.added) == ([("b", "c")], [])
    there = evolution("t", columns, {"b": "bigint", "c": "bigint"}, older)
    assert (there.renamed, there.added) == ([], [Column("d", "string")])
    wider = evolution("t", [Column("c", "double")], {"a": "bigint"}, older)
    assert (wider.renamed, wider.widened) == ([("a", "c")], [("a", Column("c", "double"))])


@pytest.mark.small
@pytest.mark.parametrize(
    ("old", "new", "wider"),
    [
        ("bigint", "double", True),
        ("bigint", "decimal(18,2)", True),
        ("decimal(18,2)", "decimal(18,4)", True),
        ("decimal(12,2)", "decimal(18,2)", True),
        ("decimal(18,4)", "decimal(18,2)", False),
        ("decimal(18,2)", "decimal(12,4)", False),
        ("decimal(18,2)", "double", False),
        ("double", "decimal(18,2)", False),
        ("bigint", "string", False),
        ("string", "bigint", False),
        ("timestamp", "bigint", False),
    ],
)
def test_what_is_wider(old: str, new: str, wider: bool):
    assert widens(old, new) is wider
