"""How far back a table goes: days before it were dropped on purpose, and are no gap.

A property of the table, said before the first of them goes: whoever makes something of a table must know that its
older days are not all there.
"""

from datetime import date

from pyspark.sql import SparkSession

from lake.tables import Table, properties, set_property

KEPT_FROM = "df.kept-from"


def kept_from(spark: SparkSession, table: Table) -> date:
    """The first day that is whole; the least there is where nothing was ever dropped."""
    said = properties(spark, table.name).get(KEPT_FROM)
    return date.min if said is None else date.fromisoformat(said)


def keep_from(spark: SparkSession, table: Table, day: date) -> None:
    if day > kept_from(spark, table):
        set_property(spark, table, KEPT_FROM, str(day))
