"""The reference tables that a domain's lookups name, as tables of the lake: whole, for those who join."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from dataforge.contracts.lookups import LookupSource, lookup_sources
from dataforge.contracts.model import Domain

from lake import tables

_CONTENT = "df.content"


@dataclass(frozen=True, slots=True)
class Lookups:
    """*Guarantees*: a table is replaced in one commit, and only where its source has changed."""

    spark: SparkSession
    say: Callable[[str], None]

    def run(self, domain: Domain) -> int:
        """Returns how many tables were made anew. *Raises* `DomainError`."""
        anew = 0
        for name, source in lookup_sources(domain.folder).items():
            table, content = tables.lookup(domain.name, name), fingerprint(source.table)
            if content == self._content(table):
                continue
            self.spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {table.rpartition('.')[0]}")
            writer = frame(self.spark, source).writeTo(table).using("iceberg").tableProperty("format-version", "2")
            writer.tableProperty(_CONTENT, content).createOrReplace()
            anew += 1
            self.say(f"{table}: {source.table.num_rows:,} rows")
        return anew

    def _content(self, table: str) -> str | None:
        if not self.spark.catalog.tableExists(table):
            return None
        return tables.properties(self.spark, table).get(_CONTENT)


def fingerprint(table: pa.Table) -> str:
    """The same for the same names, types and rows, however the rows are chunked."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return sha256(sink.getvalue()).hexdigest()


def frame(spark: SparkSession, source: LookupSource) -> DataFrame:
    """*Shape*: the source's columns, its rows that have a key; a type that Spark has not is text."""
    plain = source.table.cast(pa.schema([pa.field(field.name, _plain(field.type)) for field in source.table.schema]))
    rows = [tuple(row.values()) for row in plain.to_pylist() if row[source.key] is not None]
    return spark.createDataFrame(rows, from_arrow_schema(plain.schema)).coalesce(1)


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    return kind if pa.types.is_boolean(kind) or pa.types.is_date32(kind) else pa.string()
