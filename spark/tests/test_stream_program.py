"""The program `lake stream`, as a process of its own: killed at any moment, and seen from outside."""

import asyncio
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

from dataforge.testing.otlp import OtlpReceiver, ReceivedSpan

from devstack.lake.jobs import SPARK
from devstack.paths import repo_root
from following import Following, logs_of
from lake import tables
from lake.landing import Bucket
from lake.position import head
from lake.settings import LakeSettings
from orders import SMALL, drawn, orders_domain
from worlds import ALL, demand

WITHIN_S = 300
_LOOK_S = 0.1
_MANY = 10**9


class Program:
    """`lake stream`, as a process of its own."""

    def __init__(self, folder: Path, env: dict[str, str], domain: Path, kafka: str, **more: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._log = folder / "log"
        self._env = {
            **os.environ,
            **env,
            "DATAFORGE_KAFKA": kafka,
            "DATAFORGE_DOMAINS": str(domain),
            "DATAFORGE_ADMIN_PORT": str(self._port),
            "DATAFORGE_LAKE_INTERVAL_S": "0.1",
            "PYTHONPATH": os.pathsep.join((str(SPARK), str(repo_root() / "libs" / "common"))),
            **more,
        }
        self._running: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self, *arguments: str) -> Iterator[None]:
        command = [sys.executable, "-m", "lake", "stream", *arguments]
        with self._log.open("a") as log:
            self._running = subprocess.Popen(
                command, env=self._env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            yield
        finally:
            self.kill()

    def kill(self) -> None:
        """With its Java, at once."""
        assert self._running is not None
        try:
            os.killpg(self._running.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            self._running.wait()

    def stop(self) -> int:
        """As a supervisor does. Returns the exit code."""
        assert self._running is not None
        os.killpg(self._running.pid, signal.SIGTERM)
        return self._running.wait(WITHIN_S)

    def until(self, holds: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not holds():
            assert self._running is not None
            assert self._running.poll() is None, self._log.read_text()[-5_000:]
            assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}\n{self._log.read_text()[-5_000:]}"
            time.sleep(_LOOK_S)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)


def test_a_stream_that_is_killed_at_any_moment_loses_nothing_and_adds_nothing_twice(
    spark: SparkSession, lake_settings: LakeSettings, environment: dict[str, str], tmp_path: Path, kafka: str
):
    folder = tmp_path / "killed_stream"
    world = Following(spark, lake_settings, orders_domain(folder, SMALL), kafka, ALL)
    sent = drawn(27, 900)
    logs = logs_of(sent)
    world.topic.create()
    world.topic.append(logs)
    tables.ensure(spark, tables.bronze(world.event.contract))
    program = Program(tmp_path, environment, folder, kafka, DATAFORGE_LAKE_COMMIT_ROWS="30")
    catalog = Catalog(world, Path(environment["DATAFORGE_LAKE_CATALOG"]))
    with program.running():
        commits = random.Random(27).randint(2, 4)
        program.until(lambda: catalog.changes() >= commits, f"{commits} commits")
    first, all_of_it = sum(world.positions()), sum(map(len, logs))
    with program.running():
        seen = catalog.changes()
        program.until(lambda: catalog.changes() > seen, "a commit")
        with catalog.held():  # from now on no commit can be finished
            program.until(catalog.awaited, "a commit that waits for the catalog")
            program.kill()
    assert 0 < first < sum(world.positions()) < all_of_it, "not killed in the middle"
    program = Program(tmp_path, environment, folder, kafka)
    with program.running():
        silver = tables.silver(world.event)

        def all_there() -> bool:
            return (
                tables.exists(spark, silver)
                and sum(place.position for place in head(spark, silver).places.values()) == all_of_it
            )

        program.until(lambda: catalog.changed() and all_there(), "the log's end")
        assert program.stop() == 0
    world.gold.run(world.event)
    demand(world, sent)


class Catalog:
    """The commits of one domain, seen from outside: each names another metadata file."""

    def __init__(self, world: Following, file: Path) -> None:
        self._world = world
        self._db = sqlite3.connect(file, timeout=30, isolation_level=None)
        self._seen: set[str] = set()
        self._began = len(self._named())

    def changes(self) -> int:
        """So many were seen; others may have come between two looks."""
        self._seen |= set(self._named())
        return len(self._seen) - self._began

    def changed(self) -> bool:
        """Since the last look."""
        before = len(self._seen)
        return self.changes() + self._began > before

    @contextmanager
    def held(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    def awaited(self) -> bool:
        """A table's next metadata is in the store, and the catalog does not name it."""
        newest = {folder: _number(key) for folder, key in ((_folder(key), key) for key in self._named())}

        async def written() -> list[str]:
            store = Bucket.of(self._world.settings).store()
            await store.open()
            try:
                prefix = f"lake/{self._world.event.contract.domain}/"
                return [key async for key in store.list(prefix, "") if key.endswith(".metadata.json")]
            finally:
                await store.close()

        return any(_number(key) > newest.get(_folder(key), _MANY) for key in asyncio.run(written()))

    def _named(self) -> list[str]:
        """Keys of the current metadata files."""
        query = "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = ?"
        rows = self._db.execute(query, (self._world.event.contract.domain,)).fetchall()
        return [location.partition("://")[2].partition("/")[2] for (location,) in rows]


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _number(key: str) -> int:
    """Of a metadata file: `00012-….metadata.json`."""
    return int(key.rpartition("/")[2].partition("-")[0])


def test_the_program_says_how_far_it_is_and_stops_between_two_commits(
    spark: SparkSession, lake_settings: LakeSettings, environment: dict[str, str], tmp_path: Path, kafka: str
):
    folder = tmp_path / "seen_stream"
    world = Following(spark, lake_settings, orders_domain(folder, SMALL), kafka, ALL)
    sent = drawn(28, 100)
    logs = logs_of(sent)
    world.topic.create()
    world.topic.append(logs)

    async def scenario() -> Sequence[ReceivedSpan]:
        async with OtlpReceiver() as collector:
            program = Program(tmp_path, environment, folder, kafka, DATAFORGE_OTLP_ENDPOINT=collector.endpoint)
            await asyncio.to_thread(seen, program)
            return list(collector.spans)

    def seen(program: Program) -> None:
        with program.running("--gold-every", "0.1"):
            program.until(lambda: program.get("/readyz")[0] == 200, "ready")
            gold = tables.gold(world.event.contract)
            program.until(lambda: tables.exists(spark, gold) and head(spark, gold).places, "gold")
            said = program.get("/metrics")[1]
            topic = world.topic.name
            for partition, log in enumerate(logs):
                of = f'{{partition="{partition}",topic="{topic}"}}'
                assert f"dataforge_position{of} {float(len(log))}" in said
                assert f"dataforge_lag_records{of} 0.0" in said
            assert f'dataforge_lake_commits_total{{event="{world.event.contract.name}",layer="bronze"}} 1.0' in said
            assert json.loads(program.get("/healthz")[1])["status"] == "ok"
            assert program.stop() == 0

    spans = asyncio.run(scenario())
    demand(world, sent)
    rounds = [span for span in spans if span.name == "bronze" and span.attributes["dataforge.records"]]
    assert [span.attributes["dataforge.records"] for span in rounds] == [sum(map(len, logs))]
    assert rounds[0].attributes["dataforge.lag"] == 0
    assert rounds[0].attributes["dataforge.position.0"] == len(logs[0])
    assert {"silver", "gold"} <= {span.name for span in spans}
