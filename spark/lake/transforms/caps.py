"""Label caps, which the live numbers have and gold has not: of each table and partition the first labels, in the
order of the log, have rows of their own, and all others share `__other__`. *Source*: docs/specs/domain.md.
"""

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from dataforge.contracts.model import OTHER
from dataforge.kpi.plan import Plan

from lake.transforms.measure import LABELS, labelled

Beyond = Mapping[str, DataFrame]
"""Table id -> `df_partition`, `df_labels` of what is beyond its cap there."""

_PLACE = ["df_partition", LABELS]


def beyond_cap(counted: DataFrame, plan: Plan) -> dict[str, DataFrame]:
    """Of the tables that overflowed. `counted`: every record that the live fold counted, from the log's beginning."""
    tables = [table for table in plan.tables if table.dimensions]
    if not tables:
        return {}
    nth = F.row_number().over(Window.partitionBy("df_partition").orderBy("first"))
    found = reduce(
        DataFrame.unionByName,
        (
            labelled(counted, plan.event, table)
            .groupBy(*_PLACE)
            .agg(F.min("df_offset").alias("first"))
            .select(F.lit(table.id).alias("table"), *_PLACE, nth.alias("nth"))
            .where(F.col("nth") > plan.event.label_cap)
            for table in tables
        ),
    ).cache()
    overflowed = [row["table"] for row in found.select("table").distinct().collect()]
    return {table: found.where(F.col("table") == table).select(*_PLACE) for table in overflowed}


def shared(rows: DataFrame, beyond: DataFrame) -> DataFrame:
    """Rows of one table: labels beyond its cap become `__other__`, in every dimension."""
    marked = rows.join(beyond.withColumn("df_beyond", F.lit(True)), _PLACE, "left")
    other = F.transform(LABELS, lambda _: F.lit(OTHER))
    return marked.withColumn(LABELS, F.when(F.col("df_beyond"), other).otherwise(F.col(LABELS))).drop("df_beyond")
