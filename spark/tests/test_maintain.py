"""The lake kept in order beside its writers: files compacted, snapshots expired, orphans removed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from dataforge.errors import Fatal

from devstack.lake.jobs import SPARK
from devstack.lake.steps import step
from devstack.paths import repo_root
from keeping import ANY_AGE, Kept, grown, instant
from lake import commit, tables
from lake.app import wall_ms
from lake.conflict import again
from lake.jobs.drop import live_days
from lake.jobs.orphans import Orphans
from lake.position import head
from lake.settings import LakeSettings
from orders import DAY, MIDNIGHT, PARTITIONS, SMALL, judged, orders_domain, over_days, parts
from worlds import bronze_expected, bronze_rows, demand

PORTIONS = 4


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
