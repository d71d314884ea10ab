"""Rules and expectations over small frames: what the judge says of a record, the lake says of its row."""

from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from dataforge.contracts.model import Domain
from dataforge.quality.report import status_of
from dataforge.stream.records import LogRecord

from lake.jobs.gate import finding
from lake.transforms.checks import RowCheck, checked, row_checks
from lake.transforms.observe import observed
from lake.transforms.typed import typed
from orders import drawn
from quality_domain import DAYS, ROWS, days, newest_ms, quality_domain, silver
from quality_worker.judge import Judge
from test_typed import bronze


@pytest.fixture
def domain(tmp_path: Path) -> Domain:
    return quality_domain(tmp_path / "orders")


def test_a_rule_means_what_it_means_to_the_judge(spark: SparkSession, domain: Domain):
    event, sent = domain.events[0], [one for one in drawn(31, 400) if one.valid]
    checks = [check for check in row_checks(event) if check.kind == "rule"]
    rows = checked(typed(bronze(spark, sent), event.contract), event.contract, checks).collect()
    found = {(row["df_partition"], row["df_offset"]): tuple(row["df_failed"]) for row in rows}
    # A judge that only warns names every rule that does not hold.
    judge = Judge(replace(event, rules=tuple(replace(rule, action="warn") for rule in event.rules)))
    said = {
        (one.partition, one.offset): judge.judge(LogRecord(one.offset, one.ts_ms, b"k", one.value, [])).warnings
        for one in sent
    }
    assert found == said
    assert {name for names in said.values() for name in names} == {rule.name for rule in event.rules}


def test_rows_keep_their_columns(spark: SparkSession, domain: Domain):
    event = domain.events[0]
    rows = typed(bronze(spark, drawn(32, 50)), event.contract)
    found = checked(rows, event.contract, row_checks(event))
    assert found.dtypes == [*rows.dtypes, ("df_failed", "array<string>")]


def test_every_expectation_is_met_by_days_that_are_as_they_should_be(spark: SparkSession, domain: Domain):
    event, events = domain.events[0], days()
    rows, numbers = observed(silver(spark, event, events), event, newest_ms(events) + 60_000)
    assert rows == DAYS * ROWS + 100
    assert {e.name: status_of(numbers[e.name].value, e.least, e.most) for e in event.expectations} == dict.fromkeys(
        numbers, "passed"
    )
    assert numbers["awake"].value == 60
    assert numbers["steady"].value == 1
    assert numbers["cheap"].rows == rows


def test_every_expectation_is_noticed_that_is_not_met(spark: SparkSession, domain: Domain):
    event, events = domain.events[0], days(broken=True)
    rows, numbers = observed(silver(spark, event, events), event, newest_ms(events) + 7_200_000)
    assert {e.name: status_of(numbers[e.name].value, e.least, e.most) for e in event.expectations} == dict.fromkeys(
        numbers, "failed"
    )
    assert numbers["weighed"].failed == int(events["weight"].isna().sum())
    assert numbers["known"].failed == int((events["sku"] == "Z9").sum())
    outside = (events["amount"] > 90) | (events["amount"] < 1)
    assert (numbers["cheap"].failed, numbers["cheap"].rows) == (int(outside.sum()), rows)
    assert numbers["once"].value == events[["customer", "sku"]].drop_duplicates().shape[0] / rows
    assert numbers["pieces"].value == pytest.approx(events["quantity"].mean())
    assert numbers["steady"].value == 3


def test_of_little_nothing_is_said(spark: SparkSession, domain: Domain):
    event, events = domain.events[0], days().tail(100)
    _, numbers = observed(silver(spark, event, events), event, newest_ms(events))
    assert {name for name, number in numbers.items() if number.value is None} == {"steady", "prices", "states"}
    _, numbers = observed(silver(spark, event, events.head(0)), event, 0)
    assert {number.value for number in numbers.values()} == {None}


def test_a_share_is_not_told_of_a_handful_but_every_row_that_must_hold_is():
    def check(least: float | None) -> RowCheck:
        return RowCheck("c", "range", "amount", (("minimum", 0),), "fail", least, "why")

    assert finding(check(0.9), 10, 5).status == "unknown"
    assert finding(check(0.9), 1_000, 101).status == "failed"
    assert finding(check(0.9), 1_000, 100).status == "passed"
    assert finding(check(1.0), 10, 1).status == "failed"
    assert finding(check(None), 10_000, 9_999).status == "unknown"
    assert finding(check(1.0), 0, 0).observed is None
