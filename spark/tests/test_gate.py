"""The gate of silver's writes: what is kept, what is counted and told, through kills and alerts that cannot be sent."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dataforge.alerts import Alert
from dataforge.contracts.model import Domain
from dataforge.errors import Transient
from dataforge.stream.records import LogRecord

from devstack.lake.jobs import SPARK
from devstack.paths import repo_root
from lake import tables
from lake.jobs.agree import Agree
from lake.jobs.gate import Gate
from lake.jobs.silver import Silver
from lake.landing import Bucket
from lake.position import head
from lake.reports import Reports, stored
from lake.settings import LakeSettings
from orders import PARTITIONS, Sent, drawn, judged, parts
from quality_domain import RULES, quality_domain
from quality_worker.judge import Judge
from worlds import ALL, World, count_live, demand


class Gated(World):
    """As `World`, with a gate; its alerts are kept."""

    def __init__(self, spark: SparkSession, settings: LakeSettings, domain: Domain, rows: int = ALL) -> None:
        super().__init__(spark, settings, domain, rows)
        self.alerts: list[Alert] = []
        self.away = False
        self.reports = Reports(spark, Bucket.of(settings), self._alert)
        self.silver = Silver(
            spark, rows, self.said.append, Gate(spark, rows, self.reports.publish, lambda: 0, self.said.append)
        )

    def _alert(self, alert: Alert) -> None:
        if self.away:
            raise Transient("Kafka does not answer")
        self.alerts.append(alert)

    def kept(self) -> dict[tuple[int, int], tuple[str, ...]]:
        """(partition, offset) -> rules, of the quarantine table."""
        rows = self.spark.table(tables.quarantine(self.event.contract).name).collect()
        found = {(row["df_partition"], row["df_offset"]): tuple(row["df_failed"]) for row in rows}
        assert len(found) == len(rows), "a record twice"
        return found

    def counted(self) -> tuple[int, Counter[str]]:
        """Records that were looked at, and how often each rule failed, over all writes."""
        rows = self.spark.table(tables.results(self.event.contract.domain).name).where("source = 'gate'").collect()
        looked = {row["run"]: row["snapshot"] for row in rows}
        assert len(set(looked.values())) == len(looked), "a write is reported twice"
        assert len(rows) == len(looked) * len(self.event.rules)
        failed: Counter[str] = Counter()
        for row in rows:
            failed[row["name"]] += row["failed"]
        [first, *_] = [rule.name for rule in self.event.rules if rule.field == "amount"]  # never null: asked of all
        return sum(row["rows"] for row in rows if row["name"] == first), failed


@pytest.fixture
def domain(tmp_path: Path) -> Domain:
    return quality_domain(tmp_path / f"gated_{uuid4().hex[:8]}", RULES)


@pytest.fixture
def gated(spark: SparkSession, lake_settings: LakeSettings, domain: Domain) -> Gated:
    return Gated(spark, lake_settings, domain)


def broken(domain: Domain, sent: Sequence[Sent]) -> dict[tuple[int, int], tuple[str, ...]]:
    """What the judge says of each valid record by the rules of now, where it says anything."""
    event = domain.events[0]
    judge = Judge(replace(event, rules=tuple(replace(rule, action="warn") for rule in event.rules)))
    said = {
        (one.partition, one.offset): judge.judge(LogRecord(one.offset, one.ts_ms, b"k", one.value, [])).warnings
        for one in sent
        if one.valid
    }
    return {place: names for place, names in said.items() if names}


def demand_gated(gated: Gated, domain: Domain, sent: Sequence[Sent]) -> None:
    """The tables hold what was sent: silver all of it, the quarantine what breaks rules, the results how many."""
    demand(gated, sent)
    expected = broken(domain, sent)
    assert gated.kept() == expected
    looked, failed = gated.counted()
    assert looked == sum(one.valid for one in sent)
    assert failed == Counter(name for names in expected.values() for name in names)


def test_what_breaks_a_rule_is_kept_and_counted_and_silver_keeps_it_too(gated: Gated, domain: Domain):
    """Judged by a contract without these rules: everything came through as valid."""
    sent = drawn(41, 300)
    logs = [judged(part, zombie=True) for part in parts(sent)]
    halves = [len(log) // 2 for log in logs]
    gated.land([log[:half] for log, half in zip(logs, halves, strict=True)], 50)
    gated.run()
    gated.land(logs, 50, after=halves)
    gated.run()
    demand_gated(gated, domain, sent)
    before = gated.counted()
    assert gated.run() == (0, 0, 0)
    assert gated.counted() == before, "a run without anything new reported something"
    assert [alert.kind for alert in gated.alerts] == ["quality_gate_failed"], "told once, though both writes broke it"
    [alert] = gated.alerts
    assert alert.topic == domain.events[0].contract.raw_topic
    assert {one["name"] for one in alert.details["findings"]} == {"dear", "paid_or_open"}
    [newest] = stored(Bucket.of(gated.settings), domain.events[0].contract.name, "gate")
    assert [one.name for one in newest.broken] == ["dear", "paid_or_open"]


def test_live_and_lake_agree_whatever_the_gate_finds(gated: Gated, domain: Domain, say: Callable[[str], None]):
    sent = drawn(42, 300)
    logs = [judged(part) for part in parts(sent)]
    gated.land(logs, 100)
    gated.run()
    assert gated.kept()
    asyncio.run(count_live(gated.settings.redis_url, domain, logs))
    found = Agree(gated.spark, gated.settings.redis_url, say).run(gated.event, PARTITIONS)
    assert (found.unexplained, found.compared) == (0, found.equal + found.explained)
    assert found.equal > 0


def test_silver_goes_on_while_alerts_cannot_be_sent_and_the_gate_catches_up(
    spark: SparkSession, lake_settings: LakeSettings, domain: Domain
):
    gated = Gated(spark, lake_settings, domain, rows=120)
    sent = drawn(43, 300)
    gated.land([judged(part) for part in parts(sent)], 50)
    gated.away = True
    gated.run()
    demand(gated, sent)
    assert 0 < len(gated.kept()) < len(broken(domain, sent)), "the first write is looked at, the others wait"
    assert stored(Bucket.of(lake_settings), gated.event.contract.name, "gate") == []
    gated.away = False
    gated.run()
    demand_gated(gated, domain, sent)
    assert len(gated.alerts) == 1


def test_rules_that_come_later_look_at_what_is_there(spark: SparkSession, lake_settings: LakeSettings, tmp_path: Path):
    name = f"later_{uuid4().hex[:8]}"
    sent = drawn(44, 200)
    plain = Gated(spark, lake_settings, quality_domain(tmp_path / "a" / name, ""))
    plain.land([judged(part) for part in parts(sent)], 100)
    plain.run()
    assert not spark.catalog.tableExists(tables.quarantine(plain.event.contract).name)
    domain = quality_domain(tmp_path / "b" / name, RULES)
    gated = Gated(spark, lake_settings, domain, rows=60)
    assert gated.run() == (0, 0, 0)
    demand_gated(gated, domain, sent)


def test_killed_between_its_commit_and_silvers_nothing_is_lost_and_nothing_there_twice(
    gated: Gated, environment: dict[str, str], domain: Domain, tmp_path: Path
):
    sent = drawn(45, 600)
    # Nothing fails that would be told: this process has no Kafka.
    quiet = RULES.replace("action: quarantine", "action: warn")
    folder = tmp_path / "again" / domain.name
    domain = quality_domain(folder, quiet)
    gated = Gated(gated.spark, gated.settings, domain)
    gated.land([judged(part, zombie=True) for part in parts(sent)], 50)
    gated.bronze.run(gated.event, PARTITIONS)
    env = {
        **os.environ,
        **environment,
        "DATAFORGE_DOMAINS": str(folder),
        "DATAFORGE_LAKE_COMMIT_ROWS": "60",
        "PYTHONPATH": os.pathsep.join((str(SPARK), str(repo_root() / "libs" / "common"))),
    }
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "lake", "run", "silver"]
        running = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            _wait_between(Path(environment["DATAFORGE_LAKE_CATALOG"]), domain.name, running, tmp_path / "log")
        finally:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    ends = [
        sum(place.position for place in head(gated.spark, table).places.values())
        for table in (tables.quarantine(gated.event.contract), tables.silver(gated.event))
    ]
    assert ends[0] > ends[1] > 0, "not killed between the commits"
    gated.run()
    demand_gated(gated, domain, sent)


def _wait_between(catalog: Path, domain: str, running: subprocess.Popen[bytes], log: Path) -> None:
    """Until the quarantine table has been written after silver's second commit."""
    seen: dict[str, list[str]] = {"quarantine": [], "silver": []}
    deadline = time.monotonic() + 120
    while True:
        assert running.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        with sqlite3.connect(catalog, timeout=30) as db:
            rows = db.execute(
                "SELECT table_name, metadata_location FROM iceberg_tables WHERE table_namespace = ?", (domain,)
            ).fetchall()
        for name, location in rows:
            locations = seen.get(name.partition("_")[0], [])
            if location not in locations:
                locations.append(location)
                # Created and ordered first; then each of its commits comes before one of silver's.
                if name.startswith("quarantine") and len(seen["silver"]) >= 4:
                    return
        time.sleep(0.005)


def test_a_report_is_published_once(gated: Gated):
    sent = drawn(46, 60)
    gated.land([judged(part) for part in parts(sent)], 100)
    gated.run()
    [report] = stored(Bucket.of(gated.settings), gated.event.contract.name, "gate")
    alerts, before = list(gated.alerts), gated.counted()
    gated.reports.publish(gated.event, report)
    assert (gated.alerts, gated.counted()) == (alerts, before)
    shown = gated.spark.table(tables.results(gated.event.contract.domain).name).where(F.col("run") == report.run)
    assert shown.count() == len(report.findings)
