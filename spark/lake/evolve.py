"""A table's columns follow the contract: they are added, renamed and widened, and nothing else is done to them.

*Source*: docs/specs/lake.md. A widening is done in steps, each of which can be done again; what an earlier run has
begun is finished before anything else. Readers see the old column or the new one, whole.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import SparkSession

from dataforge.errors import Fatal

from lake.iceberg import loaded
from lake.schema import Column, ddl, quoted

_WIDER = "df_wider_"
"""Before the name of a column that is being filled. No field has a column of such a name."""
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
_EXACT = "decimal(38,9)"
"""Holds every number of 18 digits that a column may have."""


@dataclass(frozen=True, slots=True)
class Evolution:
    renamed: Sequence[tuple[str, str]]
    widened: Sequence[tuple[str, Column]]
    """The name that is there, and what it becomes."""
    added: Sequence[Column]


Older = Mapping[str, Sequence[str]]
"""Column -> the names that it had before."""


def evolve(spark: SparkSession, table: str, columns: Sequence[Column], older: Older) -> None:
    """*Raises* `Fatal`, with nothing changed, where a column cannot become what the contract makes it."""
    _finish(spark, table)
    due = evolution(table, columns, dict(spark.table(table).dtypes), older)
    for name, column in due.widened:
        _demand_fitting(spark, table, name, column.type)
    for old, new in due.renamed:
        spark.sql(f"ALTER TABLE {table} RENAME COLUMN {quoted(old)} TO {quoted(new)}")
    if due.widened:
        wider = [Column(_WIDER + column.name, column.type) for _, column in due.widened]
        spark.sql(f"ALTER TABLE {table} ADD COLUMNS ({ddl(wider)})")
        _finish(spark, table)
    if due.added:
        spark.sql(f"ALTER TABLE {table} ADD COLUMNS ({ddl(due.added)})")
    _show(spark, table)


def evolution(table: str, columns: Iterable[Column], there: Mapping[str, str], older: Older) -> Evolution:
    """What is to be done. `there`: column -> type. Pure. *Raises* `Fatal`."""
    renamed: list[tuple[str, str]] = []
    widened: list[tuple[str, Column]] = []
    added: list[Column] = []
    for column in columns:
        old = next((name for name in older.get(column.name, ()) if name in there), None)
        name = column.name if column.name in there or old is None else old
        if name not in there:
            added.append(column)
            continue
        if name != column.name:
            renamed.append((name, column.name))
        if there[name] != column.type:
            if not widens(there[name], column.type):
                raise Fatal(
                    f"{table}: column {name!r} is {there[name]}, and the contract makes it {column.type}, which is "
                    "no wider; give the event a new version, which has tables of its own"
                )
            widened.append((name, column))
    return Evolution(renamed, widened, added)


def widens(old: str, new: str) -> bool:
    """A whole number becomes any number, a decimal one with as many digits or more."""
    after = _DECIMAL.fullmatch(new)
    if old == "bigint":
        return new == "double" or after is not None
    before = _DECIMAL.fullmatch(old)
    return before is not None and after is not None and all(int(after[n]) >= int(before[n]) for n in (1, 2))


def _demand_fitting(spark: SparkSession, table: str, name: str, kind: str) -> None:
    """*Raises* `Fatal` where a value would not be the same afterwards."""
    now = f"CAST({quoted(name)} AS {_EXACT})"
    then = f"CAST(CAST({quoted(name)} AS {kind}) AS {_EXACT})"
    lost = spark.table(table).where(f"NOT ({now} <=> {then})").count()
    if lost:
        raise Fatal(
            f"{table}: {lost} values of column {name!r} do not fit into {kind}, which the contract makes it; give the "
            "event a new version, which has tables of its own"
        )


def _finish(spark: SparkSession, table: str) -> None:
    """Fill what is being widened, and put it into the place of the narrower one."""
    there = dict(spark.table(table).dtypes)
    for wider, kind in there.items():
        if not wider.startswith(_WIDER):
            continue
        name = wider.removeprefix(_WIDER)
        if name in there:
            spark.sql(
                f"UPDATE {table} SET {quoted(wider)} = CAST({quoted(name)} AS {kind}) "  # noqa: S608 - ours or quoted
                f"WHERE {quoted(name)} IS NOT NULL AND {quoted(wider)} IS NULL"
            )
            spark.sql(f"ALTER TABLE {table} DROP COLUMN {quoted(name)}")
        spark.sql(f"ALTER TABLE {table} RENAME COLUMN {quoted(wider)} TO {quoted(name)}")


def _show(spark: SparkSession, table: str) -> None:
    """A snapshot has the columns of its time: let the current one have those of now, by one that changes nothing."""
    there = loaded(spark, table)
    current = there.currentSnapshot()
    if current is not None and current.schemaId() != there.schema().schemaId():
        spark.table(table).limit(0).writeTo(table).append()
