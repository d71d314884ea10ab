"""Athena's SQL, as dbt compiled it, run by DuckDB: `MANIFEST DATABASE`. The lake is Glue's catalog here.

sqlglot reads each statement as Athena's and writes it as DuckDB's: what it cannot read is an error. Models become
tables of DATABASE; each test must return no row. Prints how many there were of both.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp

from duckdb_lake import attach

CATALOG = "awsdatacatalog"


def ordered(models: Mapping[str, Any]) -> Iterator[Any]:
    """Each after those it is made from."""
    done: set[str] = set()
    while len(done) < len(models):
        ready = [one for name, one in models.items() if name not in done and depends(one, models) <= done]
        assert ready, "models that need each other"
        done |= {one["unique_id"] for one in ready}
        yield from ready


def depends(node: Any, models: Mapping[str, Any]) -> set[str]:
    return set(node["depends_on"]["nodes"]) & models.keys()


def main(manifest: Path, database: str) -> None:
    nodes = json.loads(manifest.read_text())["nodes"].values()
    models = {node["unique_id"]: node for node in nodes if node["resource_type"] == "model"}
    tests = [node for node in nodes if node["resource_type"] == "test"]
    with duckdb.connect(database) as db:
        attach(db, "retail", os.environ, CATALOG)
        db.execute(f"CREATE SCHEMA {CATALOG}.analytics")
        for model in ordered(models):
            name = model["name"]
            db.execute(f"CREATE TABLE {CATALOG}.analytics.{name} AS {translated(model)}")
        for test in tests:
            found = db.execute(translated(test)).fetchall()
            assert not found, (test["name"], found[:3])
        for model in models.values():
            db.execute(f"CREATE TABLE {model['name']} AS FROM {CATALOG}.analytics.{model['name']}")
    sys.stdout.write(json.dumps({"models": len(models), "tests": len(tests)}))


def translated(node: Any) -> str:
    statement = sqlglot.parse_one(node["compiled_code"], read="athena")
    for length in list(statement.find_all(exp.Length)):  # of bytes, wherever a model asks: DuckDB's is of texts
        length.replace(exp.func("octet_length", length.this))
    return statement.sql("duckdb")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
