"""The columns that a query may name are those that the lake's jobs give their tables."""

from collections.abc import Iterable

from dataforge.contracts.model import Domain
from dataforge.sql import tables

from lake.schema import BRONZE, GOLD, Column, silver_columns

_TYPES = {"string": "varchar", "int": "integer", "timestamp": "timestamp with time zone", "binary": "varbinary"}


def athena(kind: str) -> str:
    """Spark's name of a type as Athena's."""
    if kind.startswith("array<"):
        return f"array({athena(kind[len('array<') : -1])})"
    return _TYPES.get(kind, kind)


def told(columns: Iterable[Column]) -> dict[str, str]:
    return {column.name.lower(): athena(column.type) for column in columns}


def test_bronze_and_gold():
    assert told(BRONZE) == tables.BRONZE
    assert told(GOLD) == tables.GOLD


def test_silver_has_a_column_of_the_same_type_for_every_field(domain: Domain):
    for event in domain.events:
        assert tables.silver_columns(event) == told(silver_columns(event))
