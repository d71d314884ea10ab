"""Typed rows with what the domain's lookups say for them: a column per dimension that has one."""

from collections.abc import Mapping

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dataforge.contracts.model import EventType

from lake.schema import column_of, dimension_column, quoted

_KEY, _LABEL = "df_key", "df_label"


def enriched(rows: DataFrame, event: EventType) -> DataFrame:
    """*Shape*: `dim_<name>` is added for each dimension with a lookup; null where it does not hold the value."""
    for dimension in event.dimensions.values():
        if dimension.lookup is None:
            continue
        labels = _labels(rows, dimension.lookup)
        key = F.col(quoted(column_of(dimension.field))).cast("string")
        rows = rows.join(F.broadcast(labels), key == F.col(_KEY), "left").drop(_KEY)
        rows = rows.withColumnRenamed(_LABEL, dimension_column(dimension.name))
    return rows


def _labels(rows: DataFrame, lookup: Mapping[str, str]) -> DataFrame:
    frame = pd.DataFrame({_KEY: list(lookup), _LABEL: list(lookup.values())}, dtype="object")
    return rows.sparkSession.createDataFrame(frame, f"{_KEY} string, {_LABEL} string")
