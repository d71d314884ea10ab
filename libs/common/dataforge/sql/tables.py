"""The lake's tables as a query names them, with the types that Athena gives their columns. Pure.

*Source*: docs/specs/lake.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from dataforge.contracts.model import Contract, EventType, Field

Layer = Literal["bronze", "silver", "gold"]
Columns = Mapping[str, str]
"""Name -> type. Athena has no upper case in names."""

_TIMESTAMP = "timestamp with time zone"
BRONZE: Columns = {
    "topic": "varchar",
    "partition": "integer",
    "offset": "bigint",
    "ts": _TIMESTAMP,
    "key": "varbinary",
    "value": "varbinary",
    "verdict": "varchar",
    "reason": "varchar",
    "detail": "varchar",
    "warnings": "array(varchar)",
    "contract": "bigint",
    "judged_offset": "bigint",
    "judged_ts": _TIMESTAMP,
}
_LINEAGE: Columns = {
    "df_id": "varchar",
    "df_time": _TIMESTAMP,
    "df_ts": _TIMESTAMP,
    "df_partition": "integer",
    "df_offset": "bigint",
    "df_judged_offset": "bigint",
    "df_contract": "bigint",
}
GOLD: Columns = {
    "metric": "varchar",
    "by": "array(varchar)",
    "labels": "array(varchar)",
    "window": "varchar",
    "size_ms": "bigint",
    "start": _TIMESTAMP,
    "day": "date",
    "value": "double",
    "top": "decimal(38,0)",
    "bottom": "decimal(38,0)",
    "sketch": "varbinary",
    "shown": "varchar",
}
_PLAIN = {
    "string": "varchar",
    "integer": "bigint",
    "number": "double",
    "boolean": "boolean",
    "object": "varchar",
    "array": "varchar",
}
_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the lake."""

    layer: Layer
    namespace: str
    name: str
    """In the catalog: `silver_purchase_v1`."""
    columns: Columns = field(hash=False, compare=False)


def tables_of(events: Iterable[EventType]) -> dict[str, Table]:
    """`silver.purchase_v1` -> table; and `silver.purchase` where the event has one version."""
    found: dict[str, Table] = {}
    short: dict[str, list[Table]] = {}
    for event in events:
        contract = event.contract
        for layer, columns in _layers(event).items():
            versioned = f"{contract.event}_v{contract.version}"
            table = Table(layer, contract.domain, f"{layer}_{versioned}", columns)
            found[f"{layer}.{versioned}"] = table
            short.setdefault(f"{layer}.{contract.event}", []).append(table)
    return {name: tables[0] for name, tables in short.items() if len(tables) == 1} | found


def silver_columns(event: EventType) -> Columns:
    contract = event.contract
    fields = {_column_of(name): _type(contract, field) for name, field in contract.fields.items()}
    looked_up = {f"dim_{d.name}": "varchar" for d in event.dimensions.values() if d.lookup is not None}
    columns = {**_LINEAGE, **fields, **looked_up, "df_replaced": f"array({_TIMESTAMP})"}
    return {name.lower(): kind for name, kind in columns.items()}


def _layers(event: EventType) -> dict[Layer, Columns]:
    return {"bronze": BRONZE, "silver": silver_columns(event), "gold": GOLD}


def _column_of(field: str) -> str:
    return f"df_{field}" if field.startswith(("_", "df_", "dim_")) else field


def _type(contract: Contract, field: Field) -> str:
    if field.name == contract.time_field and contract.time_format == "date-time":
        return _TIMESTAMP
    return f"decimal({_DIGITS},{field.scale})" if field.scale else _PLAIN[field.type]
