"""A small lake end to end: real landing objects in a real store, every job, again and again, and killed in between."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dataforge.contracts.model import OTHER, Domain
from dataforge.errors import Fatal
from dataforge.kpi.plan import plan
from dataforge.state.redis import RedisState
from dataforge.storage.chain import Chain

from devstack.lake.jobs import SPARK
from devstack.paths import repo_root
from lake import commit, tables
from lake.jobs.agree import Agree
from lake.jobs.silver import Silver
from lake.judge import Agreement, lake_cells
from lake.landing import Bucket
from lake.position import head
from lake.settings import LakeSettings
from lake.status import ends, status
from orders import PARTITIONS, SMALL, drawn, judged, orders_domain, parts
from worlds import ALL, World, bronze_expected, bronze_rows, count_live, demand, silver_ids


@pytest.mark.parametrize("rows", [pytest.param(ALL, marks=pytest.mark.small), 60])
def test_a_lake_that_grows_is_the_lake_made_at_once(
    spark: SparkSession, lake_settings: LakeSettings, small_domain: Domain, rows: int
):
    world = World(spark, lake_settings, small_domain, rows)
    sent = drawn(11, 500)
    logs = [judged(part, zombie=True) for part in parts(sent)]
    halves = [len(log) // 2 for log in logs]
    world.land([log[:half] for log, half in zip(logs, halves, strict=True)], 37)
    commits = world.run()
    assert all(n == 1 for n in commits) if rows == ALL else commits[0] > 1 < commits[1]
    first = world.snapshots()
    assert world.run() == (0, 0, 0)
    assert world.snapshots() == first, "the second run added something"
    world.land(logs, 23, after=halves)
    world.run()
    demand(world, sent)
    assert world.run() == (0, 0, 0)
    layers = {row.layer: row for row in status(spark, [small_domain], partial(ends, lake_settings))}
    assert all(row.positions == {p: len(log) for p, log in enumerate(logs)} for row in layers.values())
    assert all(row.lag == 0 for row in layers.values()), "by its landing chain"
    assert layers["bronze"].records == len(sent)


def test_an_earlier_record_that_comes_later_takes_the_place(world: World):
    """Partition 1 is landed last, and has the first record of some ids."""
    sent = drawn(12, 300)
    first, second = parts(sent)
    world.land([judged(first), []], 1_000)
    world.run()
    before = silver_ids(world.spark, world.event)
    world.land([[], judged(second)], 1_000)
    world.run()
    demand(world, sent)
    after = silver_ids(world.spark, world.event)
    assert [id_ for id_, place in before.items() if after[id_] != place], "no record took another's place"


def test_of_two_bronze_writers_one_is_refused_and_looks_again(world: World, monkeypatch: pytest.MonkeyPatch):
    sent = drawn(13, 60)
    world.land([judged(part) for part in parts(sent)], 1_000)
    overwrite, raced = commit.overwrite, []

    def racing(*arguments: Any, **named: Any) -> None:
        if not raced:  # another run does all of it, after this one has looked where to begin
            raced.append(1)
            world.bronze.run(world.event, PARTITIONS)
        overwrite(*arguments, **named)

    monkeypatch.setattr(commit, "overwrite", racing)
    assert world.bronze.run(world.event, PARTITIONS) == 0, "it brought again what the other had brought"
    assert any("another commit came first" in line for line in world.said)
    monkeypatch.undo()
    assert any("Found conflicting files" in line for line in world.said)
    assert bronze_rows(world.spark, world.event) == bronze_expected(sent)
    assert world.bronze.run(world.event, PARTITIONS) == 0


def test_a_second_silver_writer_adds_nothing(world: World, monkeypatch: pytest.MonkeyPatch):
    sent = drawn(14, 80)
    world.land([judged(part) for part in parts(sent)], 1_000)
    world.bronze.run(world.event, PARTITIONS)
    from lake.jobs import silver as module

    merge, raced = module.merge, []

    def racing(rows: object, table: tables.Table) -> None:
        if not raced:  # another run does all of it, after this one has looked where to begin
            raced.append(1)
            Silver(world.spark, ALL, world.said.append).run(world.event)
        merge(rows, table)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(module, "merge", racing)
    world.silver.run(world.event)
    monkeypatch.undo()
    world.gold.run(world.event)
    demand(world, sent)


def test_a_chain_with_a_hole_is_refused(world: World):
    log = judged(parts(drawn(15, 80))[0])
    world.land([log[:10], []], 10)
    world.land([log, []], 10, after=[20, 0])
    with pytest.raises(Fatal, match=r"an object is due at 10, and the next one starts at 20"):
        world.run()
    assert world.spark.table(tables.bronze(world.event.contract).name).count() == 0


def test_an_object_that_is_not_what_its_footer_says_is_refused(world: World):
    log = judged(parts(drawn(16, 80))[0])

    async def put() -> None:
        store = Bucket.of(world.settings).store()
        await store.open()
        topic = world.event.contract.judged_topic
        from dataforge.storage.landing_file import describe, encode

        footer = describe(log[:9], topic=topic, partition=0, topic_id="", start=0, following=9, accepted_next=9)
        forged = [log[0]._replace(value=b"{}"), *log[1:9]]
        await store.put_if_absent(Chain(store, topic, 0).key(0), encode(forged, footer))
        await store.close()

    asyncio.run(put())
    with pytest.raises(Exception, match="is damaged"):
        world.run()


@pytest.mark.parametrize("job", ["bronze", "silver"])
def test_a_job_that_is_killed_in_the_middle_loses_nothing_and_adds_nothing_twice(
    spark: SparkSession, lake_settings: LakeSettings, environment: dict[str, str], tmp_path: Path, job: str
):
    folder = tmp_path / f"killed_{job}"
    domain = orders_domain(folder, SMALL)
    world = World(spark, lake_settings, domain)
    sent = drawn(17, 900)
    logs = [judged(part, zombie=True) for part in parts(sent)]
    world.land(logs, 10)
    if job == "silver":
        world.bronze.run(world.event, PARTITIONS)
    env = {
        **os.environ,
        **environment,
        "DATAFORGE_DOMAINS": str(folder),
        "DATAFORGE_LAKE_COMMIT_ROWS": "40",
        "PYTHONPATH": os.pathsep.join((str(SPARK), str(repo_root() / "libs" / "common"))),
    }
    command = [sys.executable, "-m", "lake", "run", job]
    log = (tmp_path / "log").open("w")
    running = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        catalog = Path(environment["DATAFORGE_LAKE_CATALOG"])
        _wait_for_commits(catalog, domain.name, 3, running, tmp_path / "log")
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        log.close()
    torn = head(spark, tables.of(world.event)[job])
    assert 0 < sum(place.position for place in torn.places.values()) < sum(map(len, logs)), "not killed in the middle"
    world.run()
    demand(world, sent)


def _wait_for_commits(catalog: Path, domain: str, commits: int, running: subprocess.Popen[bytes], log: Path) -> None:
    """Each commit names another metadata file."""
    seen: set[str] = set()
    deadline = time.monotonic() + 120
    while len(seen) <= commits + 2:  # created, ordered, then commits
        assert running.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        with sqlite3.connect(catalog, timeout=30) as db:
            rows = db.execute("SELECT metadata_location FROM iceberg_tables WHERE table_namespace = ?", (domain,))
            seen |= {location for (location,) in rows}
        time.sleep(0.01)


def test_live_and_lake_agree_but_for_what_must_differ(world: World, small_domain: Domain, say: Callable[[str], None]):
    sent = drawn(18, 600)
    logs = [judged(part, zombie=True) for part in parts(sent)]
    world.land(logs, 100)
    world.run()
    asyncio.run(count_live(world.settings.redis_url, small_domain, logs))
    found = Agree(world.spark, world.settings.redis_url, say).run(world.event, PARTITIONS)
    assert (found.corrected, found.unexplained) == (0, 0), found.first
    assert found.compared == found.equal + found.explained
    assert found.explained > 0 < found.equal
    assert found.compared >= len(_windows_ever(world))

    async def falsify() -> None:
        state = RedisState(world.settings.redis_url)
        redis = state._redis
        [key, *_] = sorted([key async for key in redis.scan_iter(f"df:{{{world.event.contract.name}/0}}:w:*60000|*")])
        label = sorted(await redis.hkeys(key))[0]
        await redis.hdel(key, label)
        await state.close()

    asyncio.run(falsify())
    worse = Agree(world.spark, world.settings.redis_url, say).run(world.event, PARTITIONS)
    assert worse.unexplained > 0
    assert not worse.first[0].explained


def _windows_ever(world: World) -> set[object]:
    """Of gold, those that the live numbers keep too: days are gold's alone."""
    views = plan(world.event).views
    rows = world.spark.table(tables.gold(world.event.contract).name).withColumn("start_ms", F.unix_millis("start"))
    cells = lake_cells(views, [row.asDict() for row in rows.collect()])
    return {cell for cell in cells if cell.size_ms in views[cell.metric, cell.by].table.windows_ms}


CAPPED = """
lateness: 30s
dedupe: 2m
label_cap: 5
dimensions:
  customer: {field: customer}
  status: {field: status}
metrics:
  turnover: {measure: {sum: amount}, by: [[], [customer], [status, customer]], windows: [10s, 1m]}
  open: {measure: count, where: {status: open}, by: [[customer]], windows: [1m]}
"""


def test_labels_beyond_the_cap_are_explained(
    spark: SparkSession, lake_settings: LakeSettings, tmp_path: Path, say: Callable[[str], None]
):
    domain = orders_domain(tmp_path / f"orders_{uuid4().hex[:8]}", CAPPED)
    world = World(spark, lake_settings, domain)
    logs = [judged(part) for part in parts(drawn(19, 400))]
    world.land(logs, 100)
    world.run()
    asyncio.run(count_live(world.settings.redis_url, domain, logs))
    found = Agree(spark, world.settings.redis_url, say).run(world.event, PARTITIONS)
    assert found.unexplained == 0, found.first
    shared = [one for one in found.first if OTHER in one.labels]
    assert shared, "no table overflowed"
    assert all(one.lake is None for one in shared), "gold has no cap"


def test_nothing_to_compare_agrees(world: World, say: Callable[[str], None]):
    assert Agree(world.spark, world.settings.redis_url, say).run(world.event, PARTITIONS) == Agreement()
