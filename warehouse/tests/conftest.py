"""One small real lake, made by the lake's own jobs, and the star built over it wherever a test asks for it."""

import asyncio
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pytest

from dataforge.storage.s3 import S3Store
from dataforge.stream.records import LogRecord

import small_log
from devstack.embedded import EmbeddedServers
from devstack.lake import jobs
from devstack.model import Endpoints
from devstack.paths import StackPaths
from devstack.settings import inherited
from devstack.testing.postgres import postgres, psql
from devstack.warehouse import dbt
from devstack.warehouse.dbt import POSTGRES_URL
from small_lake import TABLES, Lake


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    paths = StackPaths(tmp_path_factory.mktemp("stack"))
    paths.of("warehouse").mkdir()
    purchases = small_log.purchases()
    sent = small_log.sent(purchases)
    # The last day is landed after gold was made.
    last_day = max(one["bought_ms"] for one in purchases) // 86_400_000 * 86_400_000
    first = [one for one in sent if one.ts_ms < last_day]
    logs, ends = small_log.judged(sent), [len(log) for log in small_log.judged(first)]
    with EmbeddedServers(paths.of("servers"), ["s3proxy"]) as servers, postgres() as url:
        own = {
            POSTGRES_URL: url,
            "DATAFORGE_LAKE_MASTER": "local[2]",
            "DATAFORGE_LAKE_MEMORY": "1g",
            # Nothing runs long enough here for the better code to pay; but there is much of it, and all needs room.
            "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m",
        }
        env = jobs.environment(servers.endpoints, [str(small_log.DOMAIN)], paths, jobs.jars(), {**inherited(), **own})
        without_first = [0, *ends[1:]]
        with _Jobs(env, paths.log("lake")) as lake:
            # Partition 0 comes later than repeats of its records do: they go again, by delete files of silver's.
            _land(servers.endpoints, logs, [0] * len(ends), without_first)
            lake.run("bronze", "silver")
            _land(servers.endpoints, logs, without_first, ends)
            lake.run("all")
            _land(servers.endpoints, logs, ends, [len(log) for log in logs])
            lake.run("bronze", "silver", "export")
        assert list(paths.of("servers").rglob("silver_purchase_v1/data/**/*-deletes.parquet")), "no row was replaced"
        shown = [one for one in purchases if one["bought_ms"] + 2_000 < last_day]
        yield Lake(dbt.environment(servers.endpoints, paths, {**inherited(), **own}), paths, dbt.python(), shown, first)


class _Jobs:
    """Jobs of the lake, one after the other in one process."""

    def __init__(self, env: dict[str, str], log: Path) -> None:
        log.parent.mkdir(exist_ok=True)
        self._env, self._log = env, log

    def __enter__(self) -> "_Jobs":
        command = [str(jobs.python()), str(Path(__file__).with_name("lake_jobs.py"))]
        with self._log.open("w") as said:
            self._running = subprocess.Popen(
                command, env=self._env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
            )
        return self

    def run(self, *jobs: str) -> None:
        for job in jobs:
            assert self._running.stdin is not None
            assert self._running.stdout is not None
            self._running.stdin.write(f"{job}\n")
            self._running.stdin.flush()
            assert self._running.stdout.readline(), self._log.read_text()

    def __exit__(self, *_: object) -> None:
        self._running.communicate()


def _land(reach: Endpoints, logs: Sequence[Sequence[LogRecord]], after: Sequence[int], ends: Sequence[int]) -> None:
    """The records from `after` to `ends` of each partition."""

    async def put() -> None:
        store = S3Store(
            reach.s3_bucket, endpoint=reach.s3_endpoint, region=reach.s3_region,
            access_key=reach.s3_access_key, secret_key=reach.s3_secret_key,
        )  # fmt: skip
        await store.open()
        try:
            for partition, (log, first, end) in enumerate(zip(logs, after, ends, strict=True)):
                if first < end:
                    await small_log.land(store, partition, log[:end], first)
        finally:
            await store.close()

    asyncio.run(put())


@pytest.fixture(scope="session")
def on_duckdb(lake: Lake) -> Path:
    """The database that holds the star, built on DuckDB."""
    ended = lake.dbt("build", "duckdb")
    assert ended.returncode == 0, ended.stdout
    return lake.duckdb_file


@pytest.fixture(scope="session")
def on_postgres(lake: Lake, on_duckdb: Path) -> Path:
    """A copy, in a DuckDB file, of the star that was built on Postgres; columns have the types of DuckDB's."""
    ended = lake.dbt("build", "postgres")
    assert ended.returncode == 0, ended.stdout
    copy = lake.paths.of("warehouse") / "postgres.duckdb"
    with duckdb.connect(str(copy)) as db:
        db.execute(f"ATTACH '{on_duckdb}' AS ours (READ_ONLY)")
        for table in TABLES:
            rows = lake.paths.of("warehouse") / f"{table}.csv"
            copying = rf"\copy (TABLE analytics.{table}) TO '{rows}' CSV HEADER NULL '\N'"
            options = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--command={copying}")
            subprocess.run([str(psql()), lake.env[POSTGRES_URL], *options], check=True)
            db.execute(f"CREATE TABLE {table} AS FROM ours.{table} LIMIT 0")
            db.execute(f"COPY {table} FROM '{rows}' (HEADER, NULLSTR '\\N')")
    return copy
