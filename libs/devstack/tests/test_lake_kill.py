"""Killing a job at its moment: a stand-in for a job that commits to a real SQLite catalog and says so in a file."""

import os
import sqlite3
import sys
from pathlib import Path

import pytest

from devstack.errors import StackError
from devstack.lake.kill import Watched, between_commits, killed, locked
from devstack.oracle.landed import Bucket

NOWHERE = Bucket("", "", "", "", "")
JOB = """
import os, sqlite3, sys
catalog, written, commits = sys.argv[1], sys.argv[2], int(sys.argv[3])
db = sqlite3.connect(catalog, timeout=60, isolation_level=None)
for n in range(1, commits + 1):
    open(f"{written}~", "w").write(f"{n} {os.getpid()}")
    os.replace(f"{written}~", written)  # whole, whenever it is killed
    db.execute("UPDATE iceberg_tables SET metadata_location = ?", (f"s3://lake/t/metadata/{n:05d}-x.metadata.json",))
"""
ENDLESS = 10**9


@pytest.fixture
def table(tmp_path: Path) -> Watched:
    catalog = tmp_path / "catalog.db"
    with sqlite3.connect(catalog) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE iceberg_tables (table_namespace, table_name, metadata_location)")
        db.execute("INSERT INTO iceberg_tables VALUES ('n', 't', 's3://lake/t/metadata/00000-x.metadata.json')")
    return Watched(catalog, NOWHERE, "n", "t")


def command(table: Watched, written: Path, commits: int) -> list[str]:
    return [sys.executable, "-c", JOB, str(table.catalog), str(written), str(commits)]


async def test_between_commits_some_are_there_and_the_job_is_gone(table: Watched, tmp_path: Path) -> None:
    written = tmp_path / "written"
    look = between_commits(table, 3, 0.0)
    with (tmp_path / "log").open("wb") as log:
        found = await killed("job", "between commits", command(table, written, ENDLESS), os.environ, look, log)
    assert found.seen.startswith("0.00 s after commit")
    assert table.location() != "s3://lake/t/metadata/00000-x.metadata.json"
    pid = int(written.read_text().split()[1])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_what_is_killed_in_a_commit_has_written_and_not_committed(table: Watched, tmp_path: Path) -> None:
    written = tmp_path / "written"

    async def look() -> str | None:
        return "written" if written.exists() and written.read_text().startswith("1 ") else None

    with locked(table.catalog), (tmp_path / "log").open("wb") as log:
        await killed("job", "in a commit", command(table, written, ENDLESS), os.environ, look, log)
    assert table.location() == "s3://lake/t/metadata/00000-x.metadata.json"
    assert written.read_text().startswith("1 ")
    with sqlite3.connect(table.catalog, timeout=0) as db:  # and the lock is free again
        db.execute("UPDATE iceberg_tables SET metadata_location = 'next'")


async def test_a_job_that_ends_first_shows_nothing(table: Watched, tmp_path: Path) -> None:
    async def never() -> str | None:
        return None

    with (
        (tmp_path / "log").open("wb") as log,
        pytest.raises(StackError, match="ended with 0 before"),
    ):
        await killed("job", "ever", command(table, tmp_path / "written", 1), os.environ, never, log)
