"""Iceberg's own procedures over a table."""

from collections.abc import Mapping
from typing import Any

from pyspark.sql import Row, SparkSession

from lake.session import CATALOG
from lake.tables import Table
from lake.when import instant


def call(spark: SparkSession, procedure: str, table: Table, **arguments: Any) -> list[Row]:
    """What it returns. Of values: text without double quotes, a mapping of options, an `Instant`, a number, a bool."""
    said = ", ".join(f"{name} => {_written(value)}" for name, value in {"table": table.name, **arguments}.items())
    return spark.sql(f"CALL {CATALOG}.system.{procedure}({said})").collect()


class Instant(int):
    """Milliseconds since the epoch."""


def _written(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case Instant():
            return instant(value)
        case Mapping():
            return f"map({', '.join(_written(part) for pair in value.items() for part in pair)})"
        case str():
            return f'"{value}"'
        case _:
            return str(value)
