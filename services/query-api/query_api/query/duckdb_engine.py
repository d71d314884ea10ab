"""DuckDB over the lake's own files: nothing is copied, nothing is written, and nothing else can be read."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import duckdb
from botocore.credentials import ReadOnlyCredentials
from botocore.session import Session

from dataforge.sql.bind import Shape, arguments, placed, places_of
from dataforge.sql.statement import Statement

from query_api.query.answer import Column, Rows, athena_type, plain
from query_api.query.catalog import Located
from query_api.query.duckdb_sql import translate
from query_api.query.engine import Question
from query_api.query.extensions import files
from query_api.query.problems import QueryProblem
from query_api.query.slots import Slots

_TEXTS = 512
"""Translations that are kept."""
_FIRST: dict[str, str | bool | int | float | list[str]] = {
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    "autoinstall_known_extensions": "false",
}


@dataclass(frozen=True, slots=True)
class Access:
    """Where the lake's files are, and how much of this machine a query may take."""

    warehouse: str
    endpoint: str | None
    region: str
    memory: str
    threads: int
    """0: as many as there are cores."""


class DuckDB:
    """One database in memory for all queries: what was read of the lake's files stays there, as far as memory goes."""

    name = "duckdb"

    def __init__(self, access: Access, slots: Slots) -> None:
        self._access, self._slots = access, slots
        self._opening = threading.Lock()
        self._db: duckdb.DuckDBPyConnection | None = None
        self._session = Session()
        self._keys: ReadOnlyCredentials | None = None
        self._texts = lru_cache(_TEXTS)(_Text)

    async def run(self, question: Question, located: Mapping[str, Located]) -> Rows:
        places = tuple((name, place.location) for name, place in located.items())
        text = self._texts(question.key, question.shape, places)
        connection = _Connection()

        def work() -> Rows:
            sql, places = text.made(question.statement)
            return connection.rows(self._cursor(), sql, arguments(question.values, places), question.max_rows)

        try:
            return await self._slots.run(work, connection.interrupt)
        except duckdb.FatalException:
            self._db = self._keys = None  # it answers nobody any more; the next one opens another
            raise
        except duckdb.Error as error:
            raise _told(error) from error

    async def close(self) -> None:
        await self._slots.close()
        if self._db is not None:
            await asyncio.to_thread(self._db.close)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        with self._opening:
            if self._db is None:
                self._db = opened(self._access)
            self._hand_keys(self._db)
            return self._db.cursor()

    def _hand_keys(self, db: duckdb.DuckDBPyConnection) -> None:
        """The store's keys as the AWS SDK finds them; those of a role change while we run."""
        found = self._session.get_credentials()
        keys = found.get_frozen_credentials() if found else None
        if keys != self._keys and keys is not None:
            db.execute(secret(self._access, keys.access_key, keys.secret_key, keys.token))
            self._keys = keys


class _Text:
    """A query's text in DuckDB's words, made once, by whoever needs it first."""

    def __init__(self, key: str, shape: Shape, places: tuple[tuple[str, str], ...]) -> None:
        del key
        self._shape, self._places = shape, dict(places)
        self._made: tuple[str, frozenset[str]] | None = None

    def made(self, statement: Statement) -> tuple[str, frozenset[str]]:
        """And where it takes values."""
        if self._made is None:
            tree = placed(statement, self._shape)
            self._made = translate(tree, self._places), places_of(tree)
        return self._made


class _Connection:
    """What one query runs on, and what ends it from elsewhere."""

    def __init__(self) -> None:
        self._cursor: duckdb.DuckDBPyConnection | None = None

    def rows(self, cursor: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any], most: int) -> Rows:
        self._cursor = cursor
        try:
            cursor.execute(sql, dict(values))
            columns = [Column(name, athena_type(str(kind))) for name, kind, *_ in cursor.description or ()]
            found: Sequence[Sequence[Any]] = cursor.fetchmany(most + 1)
            return Rows(columns, plain(columns, found[:most]), len(found) > most)
        finally:
            self._cursor = None
            cursor.close()

    def interrupt(self) -> None:
        if (cursor := self._cursor) is not None:
            with suppress(duckdb.Error):  # it has just ended
                cursor.interrupt()


def opened(access: Access) -> duckdb.DuckDBPyConnection:
    """*Guarantees*: reads the warehouse and nothing else; its settings cannot be changed any more."""
    db = duckdb.connect(":memory:", config=_FIRST)
    for file in files():
        db.execute(f"LOAD {_quoted(str(file))}")
    settings = {
        "TimeZone": "'UTC'",
        "memory_limit": _quoted(access.memory),
        "temp_directory": "''",
        "autoload_known_extensions": "false",
        # What the lake has written never changes under its name: it is read once, and not asked for again.
        "validate_external_file_cache": "'NO_VALIDATION'",
        "enable_http_metadata_cache": "true",
        "parquet_metadata_cache": "true",
        "http_timeout": "10",
        "allowed_directories": f"[{_quoted(access.warehouse.rstrip('/') + '/')}]",
        "enable_external_access": "false",
    }
    if access.threads:
        settings["threads"] = str(access.threads)
    for name, value in settings.items():
        db.execute(f"SET GLOBAL {name} = {value}")
    db.execute("SET GLOBAL lock_configuration = true")
    return db


def secret(access: Access, access_key: str, secret_key: str, token: str | None = None) -> str:
    """The statement that hands the store's keys over."""
    options = {"KEY_ID": access_key, "SECRET": secret_key, "REGION": access.region}
    if token:
        options["SESSION_TOKEN"] = token
    if access.endpoint:
        scheme, _, address = access.endpoint.partition("://")
        options |= {"ENDPOINT": address.rstrip("/"), "URL_STYLE": "path", "USE_SSL": str(scheme == "https").lower()}
    told = ", ".join(f"{name} {_quoted(value)}" for name, value in options.items())
    return f"CREATE OR REPLACE SECRET lake (TYPE s3, {told})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _told(error: duckdb.Error) -> QueryProblem:
    said = str(error).strip().partition("\n")[0]
    if isinstance(error, duckdb.OutOfMemoryException):
        return QueryProblem("too_large", "the query needs more memory than it may have", "ask for less: fewer days")
    if isinstance(error, duckdb.IOException | duckdb.HTTPException):
        return QueryProblem("unavailable", f"the lake's files cannot be read: {said}", "try again")
    if isinstance(error, duckdb.BinderException | duckdb.CatalogException):
        hint = "a column that the contract has gained is in the tables after the lake's next run"
        return QueryProblem("bad_query", f"the tables do not fit the query: {said}", hint)
    if isinstance(error, duckdb.PermissionException):
        hint = "DATAFORGE_LAKE_WAREHOUSE must be the folder that the lake writes to"
        return QueryProblem("unavailable", f"a table's files are not in the warehouse: {said}", hint)
    if isinstance(error, duckdb.InterruptException):
        return QueryProblem("unavailable", "the query was interrupted", "try again")
    if isinstance(error, duckdb.NotSupportedError):
        return QueryProblem("bad_query", f"DuckDB has no such thing: {said}")
    if isinstance(error, duckdb.DataError | duckdb.InvalidInputException | duckdb.ParserException):
        return QueryProblem("bad_query", said)
    raise error
