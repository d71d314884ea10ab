"""Tables in Postgres that are loaded portion by portion: rows, and how far they are loaded, in one transaction.

Spark brings a portion into a table that nobody reads, over as many connections as it likes; one statement then takes
it into the table that everybody reads. So a load that is killed anywhere has changed nothing, or all of its portion.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from pyspark.sql import Column as Expression
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dataforge.errors import Fatal, Transient

from lake.schema import Column, quoted

RAW, CURATED = "raw", "curated"
_INCOMING = "df_incoming_"
_LOADED = sql.Identifier(CURATED, "df_loaded")
_TYPES = {
    "string": "text",
    "int": "integer",
    "bigint": "bigint",
    "double": "double precision",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp with time zone",
    "binary": "bytea",
    "array<string>": "text[]",
}
_BATCH_ROWS = 10_000
_NAME_BYTES = 63


@dataclass(frozen=True, slots=True)
class Target:
    """A table of Postgres."""

    schema: str
    name: str
    columns: tuple[Column, ...]
    """With Spark's types."""
    key: tuple[str, ...]
    """Columns that no two rows have in common."""

    @property
    def text(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def type_of(spark_type: str) -> str:
    """As Postgres itself writes it. *Raises* `KeyError` for what no column of ours has."""
    if spark_type.startswith("decimal"):
        return spark_type.replace("decimal", "numeric", 1).replace(" ", "")
    return _TYPES[spark_type]


@contextmanager
def opened(url: str) -> Iterator["Postgres"]:
    """The one writer. *Raises* `Fatal` where another is at work, the server refuses or the address is none; `Transient`
    where it does not answer (any more).
    """
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its text has the password
        said = "DATAFORGE_LAKE_POSTGRES_URL is no address of a Postgres; one is postgresql://HOST/DATABASE"
        raise Fatal(said) from None
    try:
        with psycopg.connect(url, autocommit=True) as db:
            # Held by the session: it ends with this process, however that ends.
            locked = db.execute("SELECT pg_try_advisory_lock(hashtext('dataforge.export'))").fetchone()
            if locked != (True,):
                raise Fatal("another export is at work in this database; run it again when that has ended")
            postgres = Postgres(db, url)
            postgres.prepare()
            yield postgres
    except psycopg.OperationalError as error:
        raise Transient(f"Postgres does not answer: {error}") from error
    except psycopg.Error as error:
        raise Fatal(f"Postgres refuses: {error}") from error


class Postgres:
    """*Guarantees*: `load` is all or nothing, also under SIGKILL; it and what `ensure` says of it are one."""

    def __init__(self, db: psycopg.Connection, url: str) -> None:
        self._db, self._url = db, url

    def prepare(self) -> None:
        """Make the schemas; take away what runs left that were killed."""
        for schema in (RAW, CURATED):
            self._db.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        self._db.execute(
            sql.SQL("CREATE TABLE IF NOT EXISTS {} (name text PRIMARY KEY, upto text NOT NULL)").format(_LOADED)
        )
        left = self._db.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY(%s) AND starts_with(tablename, %s)",
            ([RAW, CURATED], _INCOMING),
        )
        for schema, name in left.fetchall():
            self._db.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(schema, name)))

    def ensure(self, target: Target) -> str | None:
        """Make the table, or the columns that it has not got; what `load` said last of it. *Raises* `Fatal`."""
        long = [name for name in (target.name, *(c.name for c in target.columns)) if len(name.encode()) > _NAME_BYTES]
        if long:
            raise Fatal(f"{target.text}: Postgres has no names as long as {', '.join(long)}")
        with self._db.transaction():
            found = self._columns(target)
            if not found:
                self._db.execute(sql.SQL("DELETE FROM {} WHERE name = %s").format(_LOADED), [target.text])
                columns = [*map(_ddl, target.columns), sql.SQL("PRIMARY KEY ({})").format(_names(target.key))]
                self._db.execute(sql.SQL("CREATE TABLE {} ({})").format(target.identifier, sql.SQL(", ").join(columns)))
            for column in target.columns if found else ():
                if column.name not in found:
                    self._db.execute(sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(target.identifier, _ddl(column)))
                elif found[column.name] != type_of(column.type):
                    raise Fatal(
                        f"{target.text}: column {column.name!r} is {found[column.name]}, and the lake's is "
                        f"{type_of(column.type)}; drop the table, with what was built on it, to have it loaded anew"
                    )
        row = self._db.execute(sql.SQL("SELECT upto FROM {} WHERE name = %s").format(_LOADED), [target.text]).fetchone()
        return row[0] if row else None

    def load(self, rows: DataFrame, target: Target, upto: str, *, whole: bool) -> int:
        """Add rows, each in the place of the one with its key; with `whole`, in the place of all there are.

        From then on `ensure` says `upto`. Returns how many rows came.
        """
        incoming = sql.Identifier(target.schema, name := f"{_INCOMING}{uuid4().hex}")
        self._db.execute(sql.SQL("CREATE UNLOGGED TABLE {} (LIKE {})").format(incoming, target.identifier))
        _write(rows, target, self._url, f'"{target.schema}"."{name}"')
        with self._db.transaction():
            if whole:
                self._db.execute(sql.SQL("DELETE FROM {}").format(target.identifier))
            came = self._db.execute(_take(target, incoming)).rowcount
            self._db.execute(
                sql.SQL(
                    "INSERT INTO {} (name, upto) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET upto = EXCLUDED.upto"
                ).format(_LOADED),
                [target.text, upto],
            )
            self._db.execute(sql.SQL("DROP TABLE {}").format(incoming))
        return came

    def _columns(self, target: Target) -> dict[str, str]:
        rows = self._db.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            [target.identifier.as_string(self._db)],
        )
        return dict(rows.fetchall())


def _take(target: Target, incoming: sql.Identifier) -> sql.Composed:
    """A task of Spark's that was run twice may have brought rows twice."""
    names = [column.name for column in target.columns]
    updates = [sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in names if name not in target.key]
    return sql.SQL(
        "INSERT INTO {target} ({names}) SELECT DISTINCT ON ({key}) {names} FROM {incoming} "
        "ON CONFLICT ({key}) DO UPDATE SET {updates}"
    ).format(
        target=target.identifier, names=_names(names), key=_names(target.key), incoming=incoming,
        updates=sql.SQL(", ").join(updates),
    )  # fmt: skip


def _names(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _ddl(column: Column) -> sql.Composed:
    return sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(type_of(column.type)))  # pyright: ignore[reportArgumentType]


def _write(rows: DataFrame, target: Target, url: str, table: str) -> None:
    said = conninfo_to_dict(url)
    tls = f"&sslmode={said['sslmode']}" if "sslmode" in said else ""
    address = f"{said.get('host', 'localhost')}:{said.get('port', 5432)}/{said.get('dbname', said.get('user', ''))}"
    rows.select(*map(_storable, target.columns)).write.format("jdbc").mode("append").options(
        url=f"jdbc:postgresql://{address}?reWriteBatchedInserts=true{tls}",
        driver="org.postgresql.Driver",
        dbtable=table,
        user=str(said.get("user", "")),
        password=str(said.get("password", "")),
        batchsize=str(_BATCH_ROWS),
    ).save()


def _storable(column: Column) -> Expression:
    """A text of Postgres holds no U+0000: U+FFFD stands in its place."""
    held = F.col(quoted(column.name))
    if column.type == "string":
        held = F.translate(held, "\0", "\ufffd")
    elif column.type == "array<string>":
        held = F.transform(held, lambda text: F.translate(text, "\0", "\ufffd"))
    return held.alias(column.name)
