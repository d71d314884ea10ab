"""The lake as a DuckDB database of views, `lake.<domain>.<table>`.

All views show one state of the log, that of gold: a job that commits to bronze or silver meanwhile changes nothing,
and facts, events and KPIs can be held against each other.
"""

import importlib.util
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import duckdb

EXTENSIONS = ("httpfs", "avro", "iceberg")
_CATALOG = "lake"
_PROPERTY = "df.position"


class Shown(NamedTuple):
    """What a view shows of a table."""

    snapshot: int | None
    """None: the current one."""
    where: str = "true"


def attach(db: duckdb.DuckDBPyConnection, domain: str, env: Mapping[str, str], name: str = "lake") -> None:
    """Views over every table of the domain, as database `name`. `env`: the platform's settings.

    *Raises* `RuntimeError` where there is no lake, or its layers have no state in common.
    """
    tables = locations(Path(env.get("DATAFORGE_LAKE_CATALOG", ".dataforge/lake/catalog.db")), domain)
    for extension in EXTENSIONS:
        db.execute(f"LOAD {_text(str(_extension(extension)))}")
    db.execute(_secret(env))
    db.execute("SET GLOBAL TimeZone = 'UTC'")
    db.execute(f"ATTACH ':memory:' AS {name}")
    db.execute(f'CREATE SCHEMA {name}."{domain}"')
    shown = consistent({table: _metadata(db, location) for table, location in tables.items()})
    for table, show in shown.items():
        at = "" if show.snapshot is None else f", snapshot_from_id = {show.snapshot}"
        rows = f"SELECT * FROM iceberg_scan({_text(tables[table])}{at}) WHERE {show.where}"  # noqa: S608 - our own names
        db.execute(f'CREATE VIEW {name}."{domain}"."{table}" AS {rows}')


def locations(catalog: Path, domain: str) -> dict[str, str]:
    """Table -> its current metadata file, by the lake's SQLite catalog."""
    if not catalog.is_file():
        raise RuntimeError(f"there is no catalog {catalog}: `dataforge lake run all` makes it")
    with closing(sqlite3.connect(f"{catalog.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as db:
        rows = db.execute(
            "SELECT table_name, metadata_location FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ?",
            (_CATALOG, domain),
        ).fetchall()
    if not rows:
        raise RuntimeError(f"the lake has no table of {domain!r}: `dataforge lake run all` makes them")
    return dict(rows)


def consistent(metadata: Mapping[str, Mapping[str, Any]]) -> dict[str, Shown]:
    """Table -> what to show of it, so that the layers of an event are at one state of the log: gold's. Pure.

    Tables that nothing was ever written to are left out; those that are of no event are shown as they are.
    """
    written = {table: said for table, said in metadata.items() if _current(said) is not None}
    shown = {table: Shown(None) for table in written}
    for table, said in written.items():
        layer, _, event = table.partition("_")
        silver, bronze = f"silver_{event}", f"bronze_{event}"
        if layer != "gold" or silver not in written:
            continue
        at = position(said)
        snapshot = snapshot_at(written[silver], at)
        if snapshot is None:
            raise RuntimeError(f"{table} stands where no snapshot of {silver} does: `dataforge lake run gold`")
        shown[silver] = Shown(snapshot)
        shown[bronze] = Shown(None, _before(at))
    return shown


def position(metadata: Mapping[str, Any]) -> dict[int, int]:
    """Partition -> next judged offset, of the newest snapshot in the history that says it."""
    for _, said in _history(metadata):
        if said is not None:
            return said
    raise RuntimeError("no snapshot of its history says how much of the log is in it")


def snapshot_at(metadata: Mapping[str, Any], wanted: Mapping[int, int]) -> int | None:
    """The newest snapshot at this position. One that says none (a compaction's) is where its parent is."""
    newest: int | None = None
    for snapshot, said in _history(metadata):
        newest = snapshot if newest is None else newest
        if said == wanted:
            return newest
        if said is not None:
            newest = None
    return None


def _history(metadata: Mapping[str, Any]) -> Iterator[tuple[int, dict[int, int] | None]]:
    """(snapshot, the position it says), from the current one back."""
    snapshots = {one["snapshot-id"]: one for one in metadata.get("snapshots", [])}
    at = _current(metadata)
    while at is not None and at in snapshots:
        said = snapshots[at].get("summary", {}).get(_PROPERTY)
        yield at, None if said is None else {int(p): place.get("position", 0) for p, place in json.loads(said).items()}
        at = snapshots[at].get("parent-snapshot-id")


def _current(metadata: Mapping[str, Any]) -> int | None:
    at = metadata.get("current-snapshot-id")
    return None if at == -1 else at


def _before(places: Mapping[int, int]) -> str:
    clauses = [f'("partition" = {p} AND judged_offset < {end})' for p, end in sorted(places.items())]
    return " OR ".join(clauses) or "false"


def _extension(name: str) -> Path:
    """The file that its package ships: DuckDB would fetch it from the network."""
    found = importlib.util.find_spec(f"duckdb_extension_{name}")
    if found is None or found.origin is None:
        raise RuntimeError(f"the package duckdb-extension-{name} is not installed")
    return Path(found.origin).parent / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"


def _metadata(db: duckdb.DuckDBPyConnection, location: str) -> dict[str, Any]:
    row = db.execute("SELECT content FROM read_text(?)", [location]).fetchone()
    return json.loads(row[0]) if row else {}


def _secret(env: Mapping[str, str]) -> str:
    said = {
        "KEY_ID": env.get("AWS_ACCESS_KEY_ID"),
        "SECRET": env.get("AWS_SECRET_ACCESS_KEY"),
        "SESSION_TOKEN": env.get("AWS_SESSION_TOKEN"),
        "REGION": env.get("DATAFORGE_S3_REGION", "us-east-1"),
    }
    endpoint = env.get("DATAFORGE_S3_ENDPOINT")
    if endpoint:
        address = urlsplit(endpoint)
        said |= {"ENDPOINT": address.netloc, "URL_STYLE": "path", "USE_SSL": str(address.scheme == "https").lower()}
    options = ", ".join(f"{option} {_text(value)}" for option, value in said.items() if value)
    return f"CREATE OR REPLACE TEMPORARY SECRET lake (TYPE s3, {options})"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
