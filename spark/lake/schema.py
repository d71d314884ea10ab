"""The columns of the lake's tables. Those of silver come from the contract and from nowhere else. Pure.

*Source*: docs/specs/lake.md.
"""

from collections.abc import Iterable
from typing import NamedTuple

from dataforge.contracts.model import Contract, EventType, Field

MAX_DIGITS = 18
"""Of a decimal column: what fits into 64 bits. The judge lets 16 through."""

_PLAIN = {
    "string": "string",
    "integer": "bigint",
    "number": "double",
    "boolean": "boolean",
    "object": "string",
    "array": "string",
}
_OURS = ("_", "df_", "dim_")


class Column(NamedTuple):
    name: str
    type: str
    """As Spark's SQL writes it."""


BRONZE = (
    Column("topic", "string"),
    Column("partition", "int"),
    Column("offset", "bigint"),
    Column("ts", "timestamp"),
    Column("key", "binary"),
    Column("value", "binary"),
    Column("verdict", "string"),
    Column("reason", "string"),
    Column("detail", "string"),
    Column("warnings", "array<string>"),
    Column("contract", "bigint"),
    Column("judged_offset", "bigint"),
    Column("judged_ts", "timestamp"),
)
LINEAGE = (
    Column("df_id", "string"),
    Column("df_time", "timestamp"),
    Column("df_ts", "timestamp"),
    Column("df_partition", "int"),
    Column("df_offset", "bigint"),
    Column("df_judged_offset", "bigint"),
    Column("df_contract", "bigint"),
)
REPLACED = Column("df_replaced", "array<timestamp>")
FAILED = Column("df_failed", "array<string>")
CHECKED = Column("df_checked", "timestamp")
RESULTS = (
    Column("run", "string"),
    Column("event", "string"),
    Column("source", "string"),
    Column("at", "timestamp"),
    Column("snapshot", "bigint"),
    Column("name", "string"),
    Column("kind", "string"),
    Column("severity", "string"),
    Column("status", "string"),
    Column("observed", "double"),
    Column("least", "double"),
    Column("most", "double"),
    Column("rows", "bigint"),
    Column("failed", "bigint"),
)
GOLD = (
    Column("metric", "string"),
    Column("by", "array<string>"),
    Column("labels", "array<string>"),
    Column("window", "string"),
    Column("size_ms", "bigint"),
    Column("start", "timestamp"),
    Column("day", "date"),
    Column("value", "double"),
    Column("top", "decimal(38,0)"),
    Column("bottom", "decimal(38,0)"),
    Column("sketch", "binary"),
    Column("shown", "string"),
)


def column_of(field: str) -> str:
    """A field's column: its own name, but for names that begin as ours or Iceberg's do. No two share one."""
    return f"df_{field}" if field.startswith(_OURS) else field


def dimension_column(name: str) -> str:
    return f"dim_{name}"


def event_columns(contract: Contract) -> tuple[Column, ...]:
    """One for each field, in the order of the contract."""
    return tuple(Column(column_of(name), _type(contract, field)) for name, field in contract.fields.items())


def older_names(contract: Contract) -> dict[str, tuple[str, ...]]:
    """Column -> the names that it had before, the newest first."""
    return {
        column_of(name): tuple(map(column_of, field.renamed_from))
        for name, field in contract.fields.items()
        if field.renamed_from
    }


def typed_columns(contract: Contract) -> tuple[Column, ...]:
    """What a decoded event has: where it is from, and its fields."""
    return (*LINEAGE, *event_columns(contract))


def silver_columns(event: EventType) -> tuple[Column, ...]:
    looked_up = (Column(dimension_column(d.name), "string") for d in event.dimensions.values() if d.lookup is not None)
    return (*typed_columns(event.contract), *looked_up, REPLACED)


def quarantine_columns(contract: Contract) -> tuple[Column, ...]:
    return (*typed_columns(contract), FAILED, CHECKED)


def _type(contract: Contract, field: Field) -> str:
    if is_date_time(contract, field.name):
        return "timestamp"
    return f"decimal({MAX_DIGITS},{field.scale})" if field.scale else _PLAIN[field.type]


def is_date_time(contract: Contract, name: str) -> bool:
    return name == contract.time_field and contract.time_format == "date-time"


def quoted(name: str) -> str:
    """A name as SQL takes any."""
    return "`" + name.replace("`", "``") + "`"


def ddl(columns: Iterable[Column]) -> str:
    return ", ".join(f"{quoted(column.name)} {column.type}" for column in columns)
