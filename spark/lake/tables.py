"""The tables of an event: their names, and that they are there with the columns they must have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyspark.sql import SparkSession

from dataforge.contracts.model import Contract, EventType

from lake.evolve import evolve
from lake.schema import BRONZE, GOLD, RESULTS, Column, ddl, older_names, quarantine_columns, quoted, silver_columns
from lake.session import CATALOG

_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    # An update writes what it removes beside the file instead of the whole file again: updates of silver are rare,
    # and the rows they fall on are everywhere.
    "write.merge.mode": "merge-on-read",
    "write.merge.isolation-level": "serializable",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "240",  # an hour of the stream's commits: who reads for longer loses his
}
_DISTRIBUTION = "write.distribution-mode"


@dataclass(frozen=True, slots=True)
class Table:
    """How a table is made. `order` says in which order the rows of a file are."""

    name: str
    columns: tuple[Column, ...]
    partitioned: str
    order: str
    older: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Column -> the names that it had before."""


def bronze(contract: Contract) -> Table:
    # By Kafka partition too: then a file's offsets are those of one log, and a commit can be held against them.
    return Table(_name(contract, "bronze"), BRONZE, "days(ts), `partition`", "ts, `offset`")


def silver(event: EventType) -> Table:
    name, columns, older = _name(event.contract, "silver"), silver_columns(event), older_names(event.contract)
    return Table(name, columns, "days(df_time)", "df_time, df_partition, df_offset", older)


def gold(contract: Contract) -> Table:
    return Table(_name(contract, "gold"), GOLD, "day", "metric, size_ms, start")


def quarantine(contract: Contract) -> Table:
    columns = quarantine_columns(contract)
    # By Kafka partition too, as bronze is, and for the same reason.
    return Table(_name(contract, "quarantine"), columns, "days(df_ts), df_partition", "df_ts, df_offset")


def results(domain: str) -> Table:
    """What was found of all events of a domain."""
    return Table(_qualified(domain, "quality_results"), RESULTS, "days(at)", "at, event, name")


def of(event: EventType) -> dict[str, Table]:
    """Layer -> table."""
    return {"bronze": bronze(event.contract), "silver": silver(event), "gold": gold(event.contract)}


def shown(event: EventType) -> dict[str, Table]:
    """As `of`, with the table of what broke a rule."""
    return {**of(event), "quarantine": quarantine(event.contract)}


def kept(event: EventType) -> dict[str, Table]:
    """As `shown`, with the domain's table of results: all that jobs add to, and that must be kept in order."""
    return {**shown(event), "results": results(event.contract.domain)}


def lookup(domain: str, name: str) -> str:
    """Name of the table that holds what a domain's lookup names."""
    return _qualified(domain, f"lookup_{name}")


def _name(contract: Contract, layer: str) -> str:
    return _qualified(contract.domain, f"{layer}_{contract.event}_v{contract.version}")


def _qualified(domain: str, table: str) -> str:
    return ".".join(map(quoted, (CATALOG, domain, table)))


def exists(spark: SparkSession, table: Table) -> bool:
    return spark.catalog.tableExists(table.name)


def ensure(spark: SparkSession, table: Table) -> None:
    """Make it where it is not there; let its columns follow the contract.

    *Raises* `Fatal` where a column cannot become what the contract makes it.
    """
    spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {table.name.rpartition('.')[0]}")
    said = ", ".join(f"'{name}' = '{value}'" for name, value in _PROPERTIES.items())
    spark.sql(
        f"CREATE TABLE IF NOT EXISTS {table.name} ({ddl(table.columns)}) USING iceberg "
        f"PARTITIONED BY ({table.partitioned}) TBLPROPERTIES ({said})"
    )
    if _DISTRIBUTION not in properties(spark, table.name):  # it comes with the order, so both are there or neither
        spark.sql(f"ALTER TABLE {table.name} WRITE DISTRIBUTED BY PARTITION LOCALLY ORDERED BY {table.order}")
    evolve(spark, table.name, table.columns, table.older)


def properties(spark: SparkSession, table: str) -> dict[str, str]:
    return {row["key"]: row["value"] for row in spark.sql(f"SHOW TBLPROPERTIES {table}").collect()}


def set_property(spark: SparkSession, table: Table, name: str, value: str) -> None:
    spark.sql(f"ALTER TABLE {table.name} SET TBLPROPERTIES ('{name}' = '{value}')")
