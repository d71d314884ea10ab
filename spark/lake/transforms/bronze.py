"""Accepted judged records as rows of bronze."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dataforge.contracts.model import Contract

from lake.schema import BRONZE


def bronze_rows(accepted: DataFrame, contract: Contract) -> DataFrame:
    """*Shape*: `BRONZE`, one row per raw record. `accepted`: judged records and what their stamps say."""
    rows = accepted.withColumns(
        {
            "topic": F.lit(contract.raw_topic),
            "judged_offset": F.col("offset"),
            "judged_ts": F.timestamp_millis(F.col("timestamp")),
            "ts": F.timestamp_millis(F.col("ts_ms")),
        }
    ).withColumn("offset", F.col("src"))
    return rows.select(*(column.name for column in BRONZE))
