"""The quality job over a small lake: Great Expectations judges, results are kept, told and documented."""

from pathlib import Path
from uuid import uuid4

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from dataforge.alerts import Alert
from dataforge.contracts.model import Domain

from lake import commit, suite, tables
from lake.jobs.quality import Quality
from lake.landing import Bucket
from lake.position import Place, head
from lake.reports import Reports, stored
from lake.settings import LakeSettings
from quality_domain import days, newest_ms, quality_domain, silver

FAIL = {"weighed", "cheap", "known", "pieces", "awake", "steady", "prices"}
WARN = {"once", "states"}


class Lake:
    """Silver as it is put there, and the job."""

    def __init__(self, spark: SparkSession, settings: LakeSettings, domain: Domain) -> None:
        self.spark, self.event, self.bucket = spark, domain.events[0], Bucket.of(settings)
        self.alerts: list[Alert] = []
        self.said: list[str] = []
        self.now_ms = 0

    def hold(self, events: pd.DataFrame) -> None:
        table = tables.silver(self.event)
        tables.ensure(self.spark, table)
        rows = silver(self.spark, self.event, events)
        commit.overwrite(rows, table, "true", head(self.spark, table), {0: Place(len(events))})

    def look(self, at_ms: int) -> dict[str, int]:
        reports = Reports(self.spark, self.bucket, self.alerts.append)
        job = Quality(self.spark, suite.judged, reports.publish, lambda: at_ms, self.said.append)
        return job.run(self.event)


@pytest.fixture
def lake(spark: SparkSession, lake_settings: LakeSettings, tmp_path: Path) -> Lake:
    return Lake(spark, lake_settings, quality_domain(tmp_path / f"looked_{uuid4().hex[:8]}"))


def test_what_is_not_met_is_found_kept_told_and_documented(lake: Lake, tmp_path: Path):
    good, bad = days(), days(broken=True)
    assert lake.look(0) == {"expectations": 0, "failed": 0, "unknown": 0}, "there is no table yet"
    lake.hold(good)
    now_ms = newest_ms(good)
    assert lake.look(now_ms) == {"expectations": 9, "failed": 0, "unknown": 0}
    assert lake.alerts == []
    lake.hold(bad)
    assert lake.look(now_ms + 7_200_000) == {"expectations": 9, "failed": 9, "unknown": 0}
    assert len(lake.said) == 9
    lake.look(now_ms + 7_200_001)
    [raised] = lake.alerts
    assert (raised.kind, raised.state, raised.at_ms) == ("quality_failed", "raised", now_ms + 7_200_000)
    assert {one["name"] for one in raised.details["findings"]} == FAIL
    lake.hold(good)
    lake.look(now_ms + 60_000)
    assert len(lake.alerts) == 1, "a look at an earlier time is none"
    later = good.assign(df_time=good["df_time"] + pd.Timedelta("3h"), df_ts=good["df_ts"] + pd.Timedelta("3h"))
    lake.hold(later)
    lake.look(newest_ms(later))
    [_, cleared] = lake.alerts
    assert (cleared.key, cleared.state) == (raised.key, "cleared")
    assert cleared.at_ms > raised.at_ms

    found = stored(lake.bucket, lake.event.contract.name, "suite", 10)
    assert [sum(one.status == "failed" for one in report.findings) for report in found] == [0, 9, 9, 0]
    assert {one.name for one in found[1].broken} == FAIL
    assert {one.name for one in found[1].findings} == FAIL | WARN
    kept = lake.spark.table(tables.results(lake.event.contract.domain).name).collect()
    assert {(row["run"], row["name"], row["status"]) for row in kept} == {
        (report.run, one.name, one.status) for report in found for one in report.findings
    }

    page = suite.documented(found, tmp_path / "pages")
    assert page.is_file()
    text = "".join(file.read_text() for file in (tmp_path / "pages").rglob("*.html"))
    assert all(name in text for name in FAIL | WARN)
    assert "Somebody always drinks tea." in text
    assert len(list((tmp_path / "pages" / "validations").rglob("*.html"))) == len(found)


def test_an_event_of_which_nothing_is_expected_is_not_looked_at(
    spark: SparkSession, lake_settings: LakeSettings, tmp_path: Path
):
    lake = Lake(spark, lake_settings, quality_domain(tmp_path / "nothing_expected", ""))
    lake.hold(days())
    assert lake.look(1) == {"expectations": 0, "failed": 0, "unknown": 0}
    assert stored(lake.bucket, lake.event.contract.name, "suite") == []
