"""The lake kept in order beside its writers: gaps filled, files compacted, snapshots expired, orphans removed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import aioboto3
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.model import Domain
from dataforge.errors import Fatal

from devstack.lake.jobs import SPARK
from devstack.lake.steps import step
from devstack.paths import repo_root
from lake import commit, tables
from lake.app import wall_ms
from lake.conflict import again
from lake.jobs.backfill import Backfill
from lake.jobs.compact import Compact
from lake.jobs.drop import Drop, live_days
from lake.jobs.expire import Expire
from lake.jobs.orphans import Orphans
from lake.landing import Bucket
from lake.position import head, lineage
from lake.schema import REPLACED
from lake.settings import LakeSettings
from orders import DAY, MIDNIGHT, PARTITIONS, SMALL, Sent, judged, land_raw, orders_domain, over_days, parts
from test_lake import ALL, World, bronze_expected, bronze_rows, demand

HOUR_MS, PORTIONS = 3_600_000, 4
ANY_AGE = {"spark.sql.legacy.setCommandRejectsSparkCoreConfs": "false", "spark.testing": "true"}


class Kept(World):
    """And the jobs that keep it in order."""

    def __init__(self, spark: SparkSession, settings: LakeSettings, domain: Domain, rows: int = ALL) -> None:
        super().__init__(spark, settings, domain, rows)
        self.bucket = Bucket.of(settings)
        self.told: list[tuple[str, int, int]] = []
        self.done = [0] * PARTITIONS

    def tell(self, what: str, done: int, of: int) -> None:
        self.told.append((what, done, of))

    def backfill(self, rows: int = ALL) -> dict[str, int]:
        return Backfill(self.spark, self.bucket, rows, None, self.said.append, self.tell).run(self.event)

    def compact(self) -> dict[str, int]:
        return Compact(self.spark, self.said.append, self.tell).run(self.event)

    def expire(
        self, keep_hours: float, now: Callable[[], int] = wall_ms, days: Mapping[str, int | None] | None = None
    ) -> dict[str, int]:
        drop = Drop(self.spark, days or {}, self.said.append)
        return Expire(self.spark, drop, keep_hours, now, self.said.append, self.tell).run(self.event)

    def orphans(self, age_hours: float) -> dict[str, int]:
        job = Orphans(
            self.spark, self.settings.warehouse, self.bucket.name, age_hours, wall_ms, self.said.append, self.tell
        )
        return job.run(self.event)

    def land_all(self, sent: Sequence[Sent], size: int = 40) -> None:
        """Raw and judged, what is not there yet of a log that begins as what is there."""
        logs, contract = parts(sent), self.event.contract
        self.land([judged(part) for part in logs], size, after=self.done)

        async def put() -> None:
            store = self.bucket.store()
            await store.open()
            try:
                for partition, part in enumerate(logs):
                    await land_raw(store, contract.raw_topic, partition, part, size, after=self.done[partition])
            finally:
                await store.close()

        asyncio.run(put())
        self.done = [len(part) for part in logs]

    def name(self, layer: str) -> str:
        return tables.of(self.event)[layer].name

    def ever(self) -> dict[str, list[int]]:
        """Layer -> its snapshots, the newest first."""
        return {layer: [one.id for one in lineage(self.spark, table)] for layer, table in tables.of(self.event).items()}

    def positions(self) -> list[object]:
        return [head(self.spark, table).places for table in tables.of(self.event).values()]

    def rows(self, layer: str, at: str = "") -> list[tuple[Any, ...]]:
        """In an order of their own; without what is no function of the layer below."""
        found = self.spark.sql(f"SELECT * FROM {self.name(layer)} {at}").drop(REPLACED.name).collect()
        return sorted((tuple(row) for row in found), key=repr)

    def all_rows(self) -> list[list[tuple[Any, ...]]]:
        return [self.rows(layer) for layer in tables.of(self.event)]

    def listed(self, prefix: str) -> dict[str, str]:
        """Key -> ETag of what is in the store."""

        async def look() -> dict[str, str]:
            client: Any = aioboto3.Session().client  # its types are those of a client that was never opened
            async with client("s3", endpoint_url=self.bucket.endpoint, region_name=self.bucket.region) as s3:
                pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket.name, Prefix=prefix)
                return {one["Key"]: one["ETag"] async for page in pages for one in page.get("Contents", ())}

        return asyncio.run(look())

    def landed(self) -> dict[str, str]:
        contract = self.event.contract
        return {
            key: tag
            for topic in (contract.raw_topic, contract.judged_topic)
            for key, tag in self.listed(f"landing/{topic}/").items()
        }

    def files(self, layer: str) -> dict[str, str]:
        return self.listed(f"lake/{self.event.contract.domain}/{layer}_order_v1/")


@pytest.fixture
def kept(spark: SparkSession, lake_settings: LakeSettings, small_domain: Domain) -> Kept:
    return Kept(spark, lake_settings, small_domain)


@pytest.fixture
def any_age(spark: SparkSession) -> Iterator[None]:
    """Iceberg removes no orphan of today, but in a test."""
    for name, value in ANY_AGE.items():
        spark.conf.set(name, value)
    yield
    for name in reversed(ANY_AGE):
        spark.conf.unset(name)


def instant(at_ms: int) -> str:
    return time.strftime("TIMESTAMP'%Y-%m-%dT%H:%M:%SZ'", time.gmtime(at_ms / 1000))


def test_backfill_finds_what_is_missing_and_nothing_else(kept: Kept):
    sent = over_days(31, 3, 120)
    kept.land_all(sent)
    kept.run()
    before, ever, landed, places = kept.all_rows(), kept.ever(), kept.landed(), kept.positions()
    assert kept.backfill() == {"commits": 0}
    assert kept.ever() == ever, "something was committed where nothing is missing"

    events = kept.spark.table(kept.name("silver")).groupBy(F.to_date("df_time").cast("string").alias("day")).count()
    silver = {row["day"]: row["count"] for row in events.collect()}
    kept.spark.sql(
        f"DELETE FROM {kept.name('silver')} WHERE df_time >= {instant(MIDNIGHT)} "
        f"AND df_time < {instant(MIDNIGHT + 2 * DAY)}"
    )
    hour = (0, MIDNIGHT)
    kept.spark.sql(
        f"DELETE FROM {kept.name('bronze')} WHERE `partition` = 0 AND ts >= {instant(MIDNIGHT)} "
        f"AND ts < {instant(MIDNIGHT + HOUR_MS)}"
    )
    lost = [one for one in sent if (one.partition, one.ts_ms - one.ts_ms % HOUR_MS) == hour]
    assert lost
    assert kept.backfill() == {
        "commits": 2,
        "bronze 0/2026-01-06T00": len(lost),
        "silver 2026-01-06": silver["2026-01-06"],
        "silver 2026-01-07": silver["2026-01-07"],
    }
    assert kept.all_rows() == before
    demand(kept, sent)
    assert kept.positions() == places
    assert kept.landed() == landed
    assert kept.told[-1] == ("gold", 0, 0)
    ever = kept.ever()
    assert kept.backfill() == {"commits": 0}
    assert kept.ever() == ever
    assert kept.run() == (0, 0, 0)


def test_backfill_mends_parts_that_are_incomplete_doubled_or_made_of_what_was_missing(kept: Kept):
    sent = over_days(32, 2, 120)
    kept.land_all(sent)
    kept.run()
    before = kept.all_rows()
    bronze, silver, gold = (kept.name(layer) for layer in ("bronze", "silver", "gold"))
    one = kept.spark.table(silver).orderBy("df_time").tail(1)[0]
    kept.spark.sql(f"DELETE FROM {silver} WHERE df_id = '{one['df_id']}'")
    kept.spark.sql(f"DELETE FROM {gold} WHERE metric = 'turnover' AND size_ms = 10000 AND day = DATE'2026-01-05'")
    first = sent[0]
    row = f"`partition` = {first.partition} AND `offset` = {first.offset}"
    kept.spark.sql(f"INSERT INTO {bronze} SELECT * FROM {bronze} WHERE {row}")
    found = kept.backfill(rows=1)
    assert {name.split()[0] for name in found} == {"commits", "bronze", "silver", "gold"}
    assert found["commits"] == len(found) - 1, "a commit for each part"
    assert kept.all_rows() == before
    assert kept.backfill() == {"commits": 0}


def test_backfill_takes_what_lies_before_its_day_as_it_is(kept: Kept):
    sent = over_days(33, 2, 120)
    kept.land_all(sent)
    kept.run()
    before = kept.all_rows()
    for layer, time_ in (("bronze", "ts"), ("silver", "df_time")):
        for at in (MIDNIGHT, MIDNIGHT + DAY):
            kept.spark.sql(
                f"DELETE FROM {kept.name(layer)} WHERE {time_} >= {instant(at)} AND {time_} < {instant(at + 60_000)}"
            )
    job = Backfill(kept.spark, kept.bucket, ALL, date(2026, 1, 7), kept.said.append, kept.tell)
    found = job.run(kept.event)
    assert {name for name in found if "2026" in name} == {
        "bronze 0/2026-01-07T00", "bronze 1/2026-01-07T00", "silver 2026-01-07"
    }  # fmt: skip
    kept.backfill()
    assert kept.all_rows() == before


def test_a_day_that_gold_has_not_taken_yet_is_no_gap(kept: Kept):
    sent = over_days(34, 1, 160)
    kept.land_all(sent[:80])
    kept.run()
    kept.land_all(sent)
    kept.bronze.run(kept.event, PARTITIONS)
    kept.silver.run(kept.event)
    assert kept.backfill() == {"commits": 0}
    assert kept.gold.run(kept.event) == 1
    demand(kept, sent)


def grown(kept: Kept, sent: Sequence[Sent], times: int) -> None:
    """Landed and taken in so many portions: a small file of each in every day, a snapshot of each."""
    for n in range(1, times + 1):
        kept.land_all(sent[: len(sent) * n // times])
        kept.run()


def test_compaction_makes_files_fewer_and_changes_no_row(kept: Kept):
    sent = over_days(35, 2, 120)
    grown(kept, [one for one in sent if one.partition == 0], 2)
    kept.land_all(sent)  # partition 1 last: it has the first record of some ids
    kept.run()
    before, places, landed = kept.all_rows(), kept.positions(), kept.landed()
    deletes = kept.spark.table(f"{kept.name('silver')}.delete_files").count()
    assert deletes > 0, "no row was updated"
    did = kept.compact()
    assert did["files rewritten"] > did["files written"] > 0
    assert did["delete files removed"] >= deletes
    assert kept.all_rows() == before
    assert kept.positions() == places
    for layer in tables.of(kept.event):
        files = kept.spark.table(f"{kept.name(layer)}.files")
        assert files.where("content <> 0").count() == 0
        assert files.groupBy("partition").count().where("count > 1").count() == 0
    ever = kept.ever()
    assert not any(kept.compact().values())
    assert kept.ever() == ever
    assert kept.run() == (0, 0, 0)
    assert kept.landed() == landed
    demand(kept, sent)


def test_snapshots_can_be_travelled_to_until_they_expire_and_the_position_never_does(kept: Kept):
    sent = over_days(36, 1, 120)
    grown(kept, sent[:60], 1)
    first = {layer: ids[0] for layer, ids in kept.ever().items()}
    then = {layer: kept.rows(layer) for layer in first}
    at_ms = max(head(kept.spark, table).committed_ms for table in tables.of(kept.event).values())
    grown(kept, sent, 1)
    kept.compact()
    now, places = kept.all_rows(), kept.positions()
    assert kept.expire(keep_hours=1) == {"rows": 0, "snapshots": 0, "files": 0}
    for layer, snapshot in first.items():
        assert kept.rows(layer, f"VERSION AS OF {snapshot}") == then[layer]
        assert kept.rows(layer, f"TIMESTAMP AS OF timestamp_millis({at_ms}L)") == then[layer]
    snapshots = sum(len(ids) for ids in kept.ever().values())
    did = kept.expire(keep_hours=0)
    assert did["snapshots"] == snapshots - sum(len(ids) for ids in kept.ever().values()) > 0
    assert did["files"] > 0
    for layer, snapshot in first.items():
        with pytest.raises(Exception, match="Cannot find"):
            kept.rows(layer, f"VERSION AS OF {snapshot}")
    assert kept.all_rows() == now
    assert kept.positions() == places, "the snapshot that says the position is gone"
    assert not any(kept.expire(keep_hours=0).values())
    assert kept.run() == (0, 0, 0)


def test_compaction_and_expiry_beside_a_writer_lose_nothing(kept: Kept):
    """Whatever meets whatever: a log that lands and is taken in portions, while files are rewritten and removed."""
    sent = over_days(37, 2, 120)
    began, rewritten, expired, known = [wall_ms()] * 2, 0, 0, {}

    def write() -> None:
        for n in range(1, PORTIONS + PARTITIONS):
            began.append(wall_ms())
            # Each partition a portion behind the one before: records that come later are earlier, and rows are updated.
            kept.land_all([one for at, one in enumerate(sent) if at < len(sent) * (n - one.partition) // PORTIONS])
            kept.run()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            rewritten += kept.compact()["files rewritten"]
            # What a job began to read in this round or the last is still needed.
            cut = began[-2]
            expired += kept.expire(0, lambda cut=cut: cut)["snapshots"]
            known = kept.landed()
        writing.result()
    assert rewritten > 0 < expired
    landed, before = kept.landed(), kept.all_rows()
    assert known.items() <= landed.items()
    demand(kept, sent)
    kept.compact()
    kept.expire(keep_hours=0)
    assert kept.all_rows() == before
    assert kept.landed() == landed
    assert kept.backfill() == {"commits": 0}
    demand(kept, sent)


def test_days_that_are_older_than_they_must_be_kept_go_and_are_no_gap(kept: Kept):
    sent = over_days(43, 7, 40)
    kept.land_all(sent)
    kept.run()
    gold, days = kept.rows("gold"), {"bronze": 1, "silver": 1}
    assert kept.expire(1)["rows"] == 0
    kept_days = live_days(kept.event)
    assert kept_days == 4, "a day of live windows, and what is needed to judge them"
    first = max(one.ts_ms for one in sent) // DAY * DAY - kept_days * DAY
    older = {
        layer: kept.spark.table(kept.name(layer)).where(f"{time_} < {instant(first)}").count()
        for layer, time_ in (("bronze", "ts"), ("silver", "df_time"))
    }
    assert kept.expire(1, days=days)["rows"] == sum(older.values()) > 0
    assert all(older.values())
    assert kept.expire(1, days=days)["rows"] == 0
    assert kept.backfill() == {"commits": 0}
    late = over_days(44, 1, 8)  # of days that are gone
    ends = [len(part) and part[-1].offset + 1 for part in parts(sent)]
    newest = max(one.ts_ms for one in sent)
    kept.land_all([*sent, *(o._replace(offset=o.offset + ends[o.partition], ts_ms=newest) for o in late)])
    kept.run()
    assert kept.rows("gold") == gold
    assert kept.backfill() == {"commits": 0}


def test_days_that_the_next_layer_has_not_taken_stay(kept: Kept):
    kept.land_all(over_days(45, 7, 20))
    kept.bronze.run(kept.event, PARTITIONS)
    assert kept.expire(1, days={"bronze": 1})["rows"] == 0
    kept.silver.run(kept.event)
    assert kept.expire(1, days={"silver": 1})["rows"] == 0
    assert [line for line in kept.said if "has not taken all of them" in line]
    kept.gold.run(kept.event)
    assert kept.expire(1, days={"bronze": 1, "silver": 1})["rows"] > 0


REFUSED = "another commit came first: again from there"


def test_a_gold_writer_that_meets_a_compaction_begins_again(kept: Kept, monkeypatch: pytest.MonkeyPatch):
    sent = over_days(38, 1, 120)
    grown(kept, sent[:80], 2)
    kept.land_all(sent)
    kept.bronze.run(kept.event, PARTITIONS)
    kept.silver.run(kept.event)
    overwrite, met = commit.overwrite, []

    def meeting(*arguments: Any) -> None:
        if not met:  # between its look at where gold is and its commit
            met.append(kept.compact())
        overwrite(*arguments)

    monkeypatch.setattr(commit, "overwrite", meeting)
    # Compaction leaves a day's one file alone: on a day that gold makes anew there have to be two.
    day = "day = DATE'2026-01-06'"
    kept.spark.sql(f"INSERT INTO {kept.name('gold')} SELECT * FROM {kept.name('gold')} WHERE {day} LIMIT 1")
    assert kept.gold.run(kept.event) == 1
    assert met[0]["files rewritten"] > 0
    assert any(REFUSED in line for line in kept.said)
    demand(kept, sent)


def waiting(here: Path, flag: Path) -> Callable[[Iterable[Any]], Iterable[Any]]:
    """For a worker: say that it has come here, and go on once somebody lets it."""

    def wait(batches: Iterable[Any]) -> Iterable[Any]:
        here.touch()
        deadline = time.monotonic() + 120
        while not flag.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield from batches

    return wait


def test_a_silver_writer_that_meets_a_compaction_begins_again(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The rows that it updates are in a file that is rewritten while it works."""
    from lake.jobs import silver as module

    sent = over_days(39, 1, 160)
    first, second = parts(sent)
    half = len(first) // 2
    for records in (first[:half], first):
        kept.land([judged(records), []], 1_000, after=(0 if len(records) == half else half, 0))
        kept.run()
    kept.land([[], judged(second)], 1_000)
    kept.bronze.run(kept.event, PARTITIONS)
    here, flag, merge = tmp_path / "here", tmp_path / "flag", module.merge

    def held(rows: Any, table: tables.Table) -> None:
        merge(rows.coalesce(1).mapInArrow(waiting(here, flag), rows.schema), table)

    monkeypatch.setattr(module, "merge", held)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(kept.silver.run, kept.event)
        try:
            deadline = time.monotonic() + 120
            while not here.exists():
                assert not writing.done()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert kept.compact()["files rewritten"] > 0
        finally:
            flag.touch()
        assert writing.result() == 1
    assert any(REFUSED in line for line in kept.said)
    kept.gold.run(kept.event)
    demand(kept, sent)


def test_what_is_no_refusal_is_raised_at_once(kept: Kept):
    tried: list[int] = []

    def step() -> None:
        tried.append(1)
        kept.spark.sql("SELECT * FROM lake.nothing.nothing_there")

    with pytest.raises(Exception, match="nothing_there"):
        again(step, kept.said.append)
    assert tried == [1]


def plant(kept: Kept, keys: Sequence[str]) -> None:
    async def put() -> None:
        store = kept.bucket.store()
        await store.open()
        for key in keys:
            await store.put_if_absent(key, b"nobody's")
        await store.close()

    asyncio.run(put())


def planted(kept: Kept) -> list[str]:
    """Where jobs that were killed leave files."""
    domain = kept.event.contract.domain
    return [
        f"lake/{domain}/bronze_order_v1/data/ts_day=2026-01-05/partition=0/00000-0-torn.parquet",
        f"lake/{domain}/silver_order_v1/data/df_time_day=2026-01-06/00000-0-torn.parquet",
        f"lake/{domain}/silver_order_v1/metadata/torn-m0.avro",
        f"lake/{domain}/gold_order_v1/metadata/00009-torn.metadata.json",
    ]


@pytest.mark.usefixtures("any_age")
def test_files_that_nobody_names_are_removed_and_no_others(kept: Kept):
    sent = over_days(40, 1, 80)
    grown(kept, sent, 2)
    kept.compact()
    domain = kept.event.contract.domain
    others = [f"lake/{domain}/bronze_order_v10/data/another-tables.parquet", f"lake/{domain}/elsewhere.parquet"]
    plant(kept, others)
    before, landed = kept.listed(f"lake/{domain}/"), kept.landed()
    orphans = planted(kept)
    plant(kept, orphans)
    assert kept.orphans(age_hours=24) == {"files": 0}, "one that is still being written"
    assert kept.orphans(age_hours=0) == {"files": len(orphans)}
    assert kept.listed(f"lake/{domain}/") == before
    assert kept.landed() == landed
    assert kept.orphans(age_hours=0) == {"files": 0}
    for ids, layer in zip(kept.ever().values(), tables.of(kept.event), strict=True):
        for snapshot in ids:
            kept.rows(layer, f"VERSION AS OF {snapshot}")
    demand(kept, sent)


def test_a_table_outside_of_the_warehouse_is_left_alone(kept: Kept):
    tables.ensure(kept.spark, tables.bronze(kept.event.contract))
    job = Orphans(kept.spark, "s3://another", kept.bucket.name, 0, wall_ms, kept.said.append, kept.tell)
    with pytest.raises(Fatal, match="within s3://another only"):
        job.run(kept.event)


_JOB = f"""
import sys
from lake.app import build
from lake.settings import LakeSettings

any_age = {{"lake_snapshot_hours": 0, "lake_orphan_hours": 0}}
lake = build(LakeSettings().model_copy(update=any_age), progress=True)
for name, value in {ANY_AGE}.items():
    lake.spark.conf.set(name, value)
lake.run(sys.argv[1])
"""


def killed_after_a_step(job: str, env: dict[str, str]) -> None:
    """Run it in a process of its own, and kill that once the first of several steps is done."""
    command = [sys.executable, "-c", _JOB, job]
    running = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    said: list[str] = []
    try:
        for line in running.stderr or ():
            said.append(line)
            at = step(line)
            if at is not None and 0 < at.done < at.of:
                break
        else:
            raise AssertionError("".join(said))
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        assert running.stderr
        running.stderr.close()


@pytest.mark.usefixtures("any_age")
def test_each_job_that_is_killed_in_the_middle_is_done_by_the_next_run(
    spark: SparkSession, lake_settings: LakeSettings, environment: dict[str, str], tmp_path: Path
):
    folder = tmp_path / "killed_jobs"
    kept = Kept(spark, lake_settings, orders_domain(folder, SMALL))
    env = {
        **os.environ,
        **environment,
        "DATAFORGE_DOMAINS": str(folder),
        "DATAFORGE_LAKE_COMMIT_ROWS": "1",
        "PYTHONPATH": os.pathsep.join((str(SPARK), str(repo_root() / "libs" / "common"))),
    }
    sent = over_days(42, 3, 80)
    grown(kept, sent, 4)
    rows, landed = kept.all_rows(), kept.landed()
    kept.spark.sql(f"DELETE FROM {kept.name('silver')} WHERE df_time >= {instant(MIDNIGHT)}")
    killed_after_a_step("backfill", env)
    assert 0 < len(kept.rows("silver")) < len(rows[1]), "not killed in the middle"
    assert kept.backfill()["commits"] == 1
    assert kept.all_rows() == rows
    for job, anew in (
        ("compact", kept.compact),
        ("expire", lambda: kept.expire(0)),
        ("orphans", lambda: kept.orphans(0)),
    ):
        if job == "orphans":
            plant(kept, planted(kept))
        killed_after_a_step(job, env)
        assert any(anew().values()), f"{job} was not killed in the middle"
        assert not any(anew().values())
        assert kept.all_rows() == rows
    assert kept.landed() == landed
    assert not set(planted(kept)) & set(kept.listed("lake/"))
    assert bronze_rows(kept.spark, kept.event) == bronze_expected(sent)
    assert kept.run() == (0, 0, 0)
    demand(kept, sent)
