"""What dbt is told. What it builds: warehouse/tests."""

from pathlib import Path

import pytest

from devstack.errors import UsageError
from devstack.model import Endpoints
from devstack.paths import StackPaths
from devstack.warehouse.dbt import LOCK, WAREHOUSE, command, environment

OWN_STORE = Endpoints(
    s3_endpoint="http://127.0.0.1:2",
    s3_bucket="dataforge",
    s3_region="us-east-1",
    s3_access_key="ours",
    s3_secret_key="secret",
)


def test_everything_is_written_into_the_stacks_folder(tmp_path: Path):
    env = environment(OWN_STORE, StackPaths(tmp_path), {"AWS_PROFILE": "work", "HOME": "/home/me"})
    written = ("DATAFORGE_WAREHOUSE_DUCKDB", "DBT_TARGET_PATH", "DBT_LOG_PATH")
    assert all(Path(env[name]).is_relative_to(tmp_path / "warehouse") for name in written)
    assert env["DATAFORGE_LAKE_CATALOG"] == str(tmp_path / "lake" / "catalog.db")
    assert (env["AWS_ACCESS_KEY_ID"], "AWS_PROFILE" in env, "PYTHONPATH" in env) == ("ours", False, False)
    assert env["DBT_SEND_ANONYMOUS_USAGE_STATS"] == "false"


def test_postgres_is_where_the_lake_exports_to(tmp_path: Path):
    url = "postgresql://an%40lyst:s%2Fcret@db.example:6432/star"
    env = environment(OWN_STORE, StackPaths(tmp_path), {"DATAFORGE_LAKE_POSTGRES_URL": url})
    said = {name: value for name, value in env.items() if name.startswith("PG")}
    assert said == {
        "PGHOST": "db.example",
        "PGPORT": "6432",
        "PGUSER": "an@lyst",
        "PGPASSWORD": "s/cret",
        "PGDATABASE": "star",
    }


def test_without_an_address_libpqs_own_variables_hold(tmp_path: Path):
    env = environment(OWN_STORE, StackPaths(tmp_path), {"PGHOST": "mine"})
    assert {name: value for name, value in env.items() if name.startswith("PG")} == {"PGHOST": "mine"}


def test_a_word_or_a_target_that_is_not_there_is_named():
    said = command(Path("python"), "docs", "athena", ["--select", "dim_users"])
    assert said[3:] == ["docs", "generate", "--target", "athena", "--select", "dim_users"]
    with pytest.raises(UsageError, match="no word 'biuld'; there are: build"):
        command(Path("python"), "biuld", "duckdb")
    with pytest.raises(UsageError, match="no target 'oracle'"):
        command(Path("python"), "build", "oracle")


def test_the_lock_pins_everything_by_content_and_names_no_index():
    lines = LOCK.read_text().splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    pins = [line.split(" ")[0] for line in lines if line and line[0] not in " #"]
    assert all("==" in pin for pin in pins)
    versions = dict(pin.split("==") for pin in pins)
    extensions = {name: version for name, version in versions.items() if name.startswith("duckdb-extension-")}
    assert len(extensions) == 3
    assert set(extensions.values()) == {versions["duckdb"]}, "an extension is of one version of DuckDB"


def test_the_project_fetches_nothing_and_tells_nobody():
    assert "send_anonymous_usage_stats: false" in (WAREHOUSE / "dbt_project.yml").read_text()
    assert not [name for name in ("packages.yml", "dependencies.yml") if (WAREHOUSE / name).exists()]
