"""Where the tables are and how Spark runs is configuration only."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from lake.catalog import prepared
from lake.session import configuration
from lake.settings import LakeSettings

pytestmark = pytest.mark.small


def test_locally_the_catalog_is_a_file_that_is_made(tmp_path: Path):
    file = tmp_path / "deep" / "catalog.db"
    settings = LakeSettings(lake_catalog=str(file), s3_endpoint="http://localhost:1", lake_jars="a.jar:b.jar")
    said = configuration(settings)
    assert said["spark.sql.catalog.lake.type"] == "jdbc"
    assert said["spark.sql.catalog.lake.jdbc.init-catalog-tables"] == "false"
    assert said["spark.sql.catalog.lake.s3.endpoint"] == "http://localhost:1"
    assert said["spark.sql.catalog.lake.warehouse"] == "s3://dataforge/lake"
    assert said["spark.jars"] == "a.jar,b.jar"
    with sqlite3.connect(file) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert names == {"iceberg_tables", "iceberg_namespace_properties"}
    assert prepared(file) == said["spark.sql.catalog.lake.uri"], "made again, or elsewhere"


def test_those_who_make_it_at_the_same_time_wait_for_each_other(tmp_path: Path):
    """Two jobs on a new machine: SQLite itself refuses one of them, now and then, whatever its timeout."""
    with ThreadPoolExecutor(8) as threads:
        for n in range(60):
            at_once, file = Barrier(8), tmp_path / str(n) / "catalog.db"
            uris = set(threads.map(lambda _, file=file, at_once=at_once: (at_once.wait(), prepared(file))[1], range(8)))
            assert len(uris) == 1


def test_in_aws_it_is_glue_and_spark_is_somebody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    settings = LakeSettings(
        lake_catalog="glue", lake_master="submitted", lake_warehouse="s3://mine/lake/", s3_endpoint=None
    )
    said = configuration(settings)
    assert said["spark.sql.catalog.lake.type"] == "glue"
    assert said["spark.sql.catalog.lake.warehouse"] == "s3://mine/lake"
    assert not {name for name in said if name in ("spark.master", "spark.jars") or "endpoint" in name}
    assert list(tmp_path.iterdir()) == []
