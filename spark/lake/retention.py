"""How far back a table goes: days before it were dropped on purpose, and are no gap.

A property of the table, said before the first of them goes: whoever makes something of a table must know that its
older days are not all there.
"""

from datetime import date

from pyspark.sql import SparkSession

from lake.tables import Table

KEPT_FROM = "df.kept-from"


def kept_from(spark: SparkSession, table: Table) -> date:
    """The first day that is whole; the least there is where nothing was ever dropped."""
    said = spark.sql(f"SHOW TBLPROPERTIES {table.name}").where(f"key = '{KEPT_FROM}'").collect()
    return date.fromisoformat(said[0]["value"]) if said else date.min


def keep_from(spark: SparkSession, table: Table, day: date) -> None:
    if day > kept_from(spark, table):
        spark.sql(f"ALTER TABLE {table.name} SET TBLPROPERTIES ('{KEPT_FROM}' = '{day}')")
