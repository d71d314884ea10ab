"""Of rows with one event id, the earliest."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

ORDER = ("df_ts", "df_partition", "df_offset")
"""Which of two is the earlier: append time, then partition and offset. No two records are equal in it."""


def earliest(rows: DataFrame) -> DataFrame:
    """One row per `df_id`."""
    by_id = Window.partitionBy("df_id").orderBy(*ORDER)
    return rows.withColumn("df_nth", F.row_number().over(by_id)).where("df_nth = 1").drop("df_nth")
