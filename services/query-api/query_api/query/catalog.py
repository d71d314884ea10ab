"""Where the lake's tables are now: the file of metadata that the catalog points to, and the snapshot in it."""

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import aioboto3
import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dataforge.errors import DataForgeError
from dataforge.kpi.instants import instant
from dataforge.sql.tables import Table
from dataforge.storage.objects import ObjectStore

from query_api.query.answer import SnapshotInfo
from query_api.query.problems import QueryProblem

NAME = "lake"
"""Of the catalog, in the SQLite file."""
_KEPT = 256


class Locations(Protocol):
    """A catalog, as far as readers need one."""

    async def of(self, tables: Iterable[Table]) -> dict[Table, str]:
        """Table -> its metadata file, all of one instant where the catalog can say that. What is not there is left
        out. *Raises* `QueryProblem` where the catalog does not answer.
        """
        ...


class SqliteLocations:
    """Iceberg's SQL catalog in a file, read and never written."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def of(self, tables: Iterable[Table]) -> dict[Table, str]:
        return await asyncio.to_thread(self._read, list(tables))

    def _read(self, tables: list[Table]) -> dict[Table, str]:
        if not self._file.exists():
            return {}
        asked = (
            "SELECT metadata_location FROM iceberg_tables WHERE (catalog_name, table_namespace, table_name) = (?, ?, ?)"
        )
        try:
            with closing(sqlite3.connect(f"{self._file.absolute().as_uri()}?mode=ro", uri=True)) as db:
                db.execute("BEGIN")  # one instant for all
                rows = {table: db.execute(asked, (NAME, table.namespace, table.name)).fetchone() for table in tables}
        except sqlite3.Error as error:
            raise QueryProblem("unavailable", f"the lake's catalog cannot be read: {error}") from error
        return {table: row[0] for table, row in rows.items() if row}


class GlueLocations:
    """AWS Glue."""

    def __init__(self, region: str, endpoint: str | None = None, timeout_s: float = 5.0) -> None:
        self._session = aioboto3.Session(region_name=region)
        config = Config(connect_timeout=timeout_s, read_timeout=timeout_s, retries={"total_max_attempts": 2})
        self._options: dict[str, Any] = {"endpoint_url": endpoint, "config": config}

    async def of(self, tables: Iterable[Table]) -> dict[Table, str]:
        client: Any = self._session.client("glue", **self._options)
        async with client as glue:
            found = {table: await self._location(glue, table) for table in tables}
        return {table: location for table, location in found.items() if location}

    async def _location(self, glue: Any, table: Table) -> str | None:
        try:
            answer = await glue.get_table(DatabaseName=table.namespace, Name=table.name)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "EntityNotFoundException":
                return None
            raise QueryProblem("unavailable", f"Glue refused to tell of {table.name}: {error}") from error
        except (BotoCoreError, OSError) as error:
            raise QueryProblem("unavailable", f"Glue does not answer: {error}") from error
        return answer["Table"].get("Parameters", {}).get("metadata_location")


class Located(NamedTuple):
    """A table as a query will read it."""

    table: Table
    location: str
    info: SnapshotInfo


class _Snapshot(msgspec.Struct):
    id: int = msgspec.field(name="snapshot-id")
    at_ms: int = msgspec.field(name="timestamp-ms")


class _Metadata(msgspec.Struct):
    current: int | None = msgspec.field(name="current-snapshot-id", default=None)
    snapshots: list[_Snapshot] = []


class Lake:
    """*Guarantees*: what it says of a table is of the moment it was asked; a metadata file never changes, so it is
    read once.
    """

    def __init__(self, locations: Locations, stores: Mapping[str, ObjectStore]) -> None:
        """`stores`: bucket -> store."""
        self._locations, self._stores = locations, stores
        self._known: OrderedDict[str, SnapshotInfo | None] = OrderedDict()

    async def located(self, tables: Mapping[str, Table]) -> dict[str, Located]:
        """By the names that `tables` has. *Raises* `QueryProblem` where one is not there, or has no rows yet."""
        places = await self._locations.of(tables.values())
        found: dict[str, Located] = {}
        for name, table in tables.items():
            location = places.get(table)
            info = await self._info(location) if location else None
            if location is None or info is None:
                what = "no table" if location is None else "no rows in"
                hint = "`dataforge lake run all` brings the lake to where the stack is"
                raise QueryProblem("no_lake", f"the lake has {what} {name} yet", hint)
            found[name] = Located(table, location, info)
        return found

    async def _info(self, location: str) -> SnapshotInfo | None:
        if location not in self._known:
            self._known[location] = _current(await self._read(location))
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return self._known[location]

    async def _read(self, location: str) -> bytes:
        place = urlsplit(location)
        store = self._stores.get(place.netloc)
        if store is None:
            raise QueryProblem(
                "unavailable", f"{location} is not in the lake's warehouse", "set LAKE_WAREHOUSE as the lake has it"
            )
        try:
            return await store.get(place.path.lstrip("/"))
        except (DataForgeError, KeyError) as error:
            raise QueryProblem("unavailable", f"the lake's tables cannot be read: {error}", "try again") from error


def _current(metadata: bytes) -> SnapshotInfo | None:
    """None where nothing was ever written."""
    read = msgspec.json.decode(metadata, type=_Metadata)
    for snapshot in read.snapshots:
        if snapshot.id == read.current:
            return SnapshotInfo(str(snapshot.id), instant(snapshot.at_ms))
    return None
