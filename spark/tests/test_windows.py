"""Gold beside an independent query over what was sent, and beside the platform's own labels and estimates."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.model import UNKNOWN, Domain, MeasureKind
from dataforge.kpi.columns import label_text
from dataforge.kpi.plan import plan

from lake.alike import shown
from lake.judge import lake_cells
from lake.schema import GOLD, REPLACED
from lake.transforms.enrich import enriched
from lake.transforms.first import earliest
from lake.transforms.typed import typed
from lake.transforms.windows import days_of, gold_rows, on_days, stamp
from oracle import database, exact_windows
from orders import CATEGORIES, SMALL, Sent, drawn, orders_domain
from test_typed import bronze

pytestmark = pytest.mark.small

SENT = drawn(3, 600)

Rows = list[Mapping[str, Any]]


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Domain:
    return orders_domain(tmp_path_factory.mktemp("domains") / "orders")


@pytest.fixture(scope="module")
def silver(spark: SparkSession, domain: Domain) -> DataFrame:
    event = domain.events[0]
    rows = enriched(earliest(typed(bronze(spark, SENT), event.contract)), event)
    return rows.withColumn(REPLACED.name, F.array().cast(REPLACED.type)).cache()


@pytest.fixture(scope="module")
def rows(silver: DataFrame, domain: Domain) -> Rows:
    """All of gold."""
    return collected(gold_rows(silver, plan(domain.events[0])))


def collected(rows: DataFrame) -> Rows:
    return [row.asDict() for row in rows.withColumn("start_ms", F.unix_millis("start")).drop("start").collect()]


def silver_sent() -> list[Sent]:
    found: dict[str, Sent] = {}
    for one in sorted(SENT, key=lambda one: (one.ts_ms, one.partition, one.offset)):
        if one.valid and one.event:
            found.setdefault(one.event["order"], one)
    return list(found.values())


def test_every_exact_window_is_the_oracles(rows: Rows):
    found = {
        (r["metric"], tuple(r["by"]), r["window"], r["start_ms"], tuple(r["labels"])): (r["top"], r["bottom"])
        for r in rows
    }
    expected = exact_windows(database(SENT))
    assert len(expected) > 500
    assert {key: found.get(key) for key in expected} == expected
    compared = {key[:3] for key in expected}
    assert {key for key in found if key[:3] in compared} == set(expected), "windows nobody asked for"
    assert all(r["day"] == datetime.fromtimestamp(r["start_ms"] / 1000, UTC).date() for r in rows)


def test_values_are_those_of_the_api(rows: Rows, domain: Domain):
    views = plan(domain.events[0]).views
    cells = lake_cells(views, rows)
    assert {metric for metric, _ in views} == {cell.metric for cell in cells}
    assert len(cells) == len(rows), "two rows of one window"
    for row, (cell, value) in zip(rows, cells.items(), strict=True):
        kind, value = views[cell.metric, cell.by].metric.measure.kind, shown(value)
        if kind in (MeasureKind.QUANTILES, MeasureKind.TOP_K):
            assert (row["value"], json.loads(row["shown"])) == (None, value), row
            continue
        if kind is MeasureKind.DISTINCT:
            value = round(value)
        assert row["value"] == (None if value is None else pytest.approx(value, rel=1e-15)), row
        assert row["shown"] is None


def test_labels_of_numbers_and_booleans_are_the_platforms(rows: Rows):
    for name in ("weight", "gift"):
        found = Counter[str]()
        for row in rows:
            if (row["metric"], row["by"], row["window"]) == ("by_weight", [name], "1d"):
                found[row["labels"][0]] += int(row["top"])
        values = (one.event[name] for one in silver_sent() if one.event)
        assert found == Counter(UNKNOWN if v is None else label_text(v) for v in values)


def test_the_least_of_numbers_without_digits_is_itself(rows: Rows):
    found = {r["start_ms"]: r["value"] for r in rows if (r["metric"], r["window"]) == ("lightest", "1m")}
    expected: dict[int, float | None] = {}
    for one in silver_sent():
        assert one.event is not None
        start, weight = one.event["at_ms"] // 60_000 * 60_000, one.event["weight"]
        known = [w for w in (expected.get(start), weight) if w is not None]
        expected[start] = min(known) if known else None
    assert found == expected


def test_distinct_is_the_number_where_there_are_few(rows: Rows):
    for metric, read in (
        ("buyers", lambda e: e["customer"]),
        ("kinds", lambda e: {"A1": "tea", "B2": "coffee", "C3": "tea"}.get(e["sku"])),
    ):
        found = {r["start_ms"]: r["value"] for r in rows if (r["metric"], r["window"]) == (metric, "1m")}
        seen: dict[int, set[str]] = {}
        for one in silver_sent():
            assert one.event is not None
            item = read(one.event)
            seen.setdefault(one.event["at_ms"] // 60_000 * 60_000, set()).update([item] if item else [])
        assert found == {start: len(items) for start, items in seen.items()}


def test_quantiles_of_few_are_exact(rows: Rows):
    found = {r["start_ms"]: json.loads(r["shown"]) for r in rows if (r["metric"], r["window"]) == ("median", "1m")}
    amounts: dict[int, list[float]] = {}
    for one in silver_sent():
        assert one.event is not None
        amounts.setdefault(one.event["at_ms"] // 60_000 * 60_000, []).append(one.event["amount"] / 100)
    assert found.keys() == amounts.keys()
    for start, quantiles in found.items():
        of = sorted(amounts[start])
        assert quantiles == {f"p{share}": of[len(of) * share // 100] for share in (50, 99)}


def test_the_most_frequent_of_few_are_counted(rows: Rows):
    found = {
        (r["start_ms"], r["labels"][0]): [
            (item["item"], item["lower"], item["upper"]) for item in json.loads(r["shown"])
        ]
        for r in rows
        if (r["metric"], r["window"]) == ("favourite_kinds", "1m")
    }
    counts: dict[tuple[int, str], Counter[str]] = {}
    for one in silver_sent():
        assert one.event is not None
        kinds = counts.setdefault((one.event["at_ms"] // 60_000 * 60_000, one.event["status"]), Counter())
        if kind := CATEGORIES.get(one.event["sku"]):
            kinds[kind] += 1
    assert found == {
        cell: [(kind, n, n) for kind, n in sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))[:2]]
        for cell, kinds in counts.items()
    }


def test_the_stamp_is_of_what_gold_is_made_by(tmp_path: Path):
    def stamped(metrics: str) -> str:
        return stamp(plan(orders_domain(tmp_path / "orders", metrics).events[0]))

    said = {
        stamped(metrics) for metrics in (SMALL, SMALL.replace("[10s, 1m]", "[10s, 5m]"), SMALL.replace("0.5", "0.6"))
    }
    assert len(said) == 3
    said_for_people = SMALL.replace("{measure: {sum: amount}", "{unit: EUR, measure: {sum: amount}")
    assert stamped(said_for_people) == stamped(SMALL)


def told(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The bytes of quantiles and top-k depend on the order in which values came; what they tell does not."""
    return row if row["shown"] is None else {**row, "sketch": None}


def test_some_days_alone_are_these_days_of_all(silver: DataFrame, rows: Rows, domain: Domain):
    of_event = plan(domain.events[0])
    days = sorted(row["day"] for row in days_of(silver, of_event).collect())
    assert days == [date(2026, 1, 5), date(2026, 1, 6)]
    for day in days:
        alone = collected(gold_rows(on_days(silver, of_event, [day]), of_event).where(F.col("day") == day))
        key = lambda row: repr((row["metric"], row["by"], row["size_ms"], row["start_ms"], row["labels"]))  # noqa: E731
        assert sorted(map(told, alone), key=key) == sorted((told(row) for row in rows if row["day"] == day), key=key)
    assert [*rows[0]] == [*(c.name for c in GOLD if c.name != "start"), "start_ms"]
