"""What the live fold made of each valid record: counted, duplicate or late (DESIGN R6a).

Told a second time, from docs/specs/domain.md and docs/specs/state.md: who judges the live numbers shares no code
with the aggregator. Partitions are folded apart from each other, each in memory.
"""

from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dataforge.contracts.model import EventType

MINUTE_MS = 60_000
_OUTCOME = "df_partition int, df_offset bigint, outcome string"


def outcomes(bronze: DataFrame, valid: DataFrame, event: EventType) -> DataFrame:
    """*Shape*: one row per valid record. `bronze`: all accepted records, for the log's clock is that of all of them;
    `valid`: the typed rows of the valid ones.
    """
    lateness_ms, horizon_ms = event.lateness_ms, event.dedupe_ms
    log = bronze.select("partition", "offset", F.unix_millis("ts").alias("ts_ms"))
    said = valid.select(
        F.col("df_partition").alias("partition"),
        F.col("df_offset").alias("offset"),
        "df_id",
        F.unix_millis("df_time").alias("at_ms"),
    )

    def fold(records: pd.DataFrame) -> pd.DataFrame:
        return fold_partition(records, lateness_ms, horizon_ms)

    return log.join(said, ["partition", "offset"], "left").groupBy("partition").applyInPandas(fold, _OUTCOME)


def fold_partition(records: pd.DataFrame, lateness_ms: int, horizon_ms: int) -> pd.DataFrame:
    """One partition, in any order. `df_id` is null in records that are not valid. Pure."""
    records = records.sort_values("offset")
    clock = np.maximum.accumulate(records["ts_ms"].to_numpy(np.int64))
    minutes = (clock - clock % MINUTE_MS).tolist()
    seen: dict[str, int] = {}
    watermark = 0
    found: list[tuple[Any, Any, str]] = []
    columns = (records["partition"], records["offset"], records["ts_ms"], records["df_id"], records["at_ms"])
    for partition, offset, ts_ms, event_id, at_ms, minute in zip(*columns, minutes, strict=True):
        if not isinstance(event_id, str):
            continue
        # Ids are forgotten by whole minutes of the log's clock, once the horizon has passed since the minute's end.
        if event_id in seen and minute - seen[event_id] < horizon_ms + MINUTE_MS:
            outcome = "duplicate"
        else:
            seen[event_id] = minute
            outcome = "late" if at_ms + lateness_ms <= watermark else "counted"
            watermark = max(watermark, min(int(at_ms), int(ts_ms)))
        found.append((partition, offset, outcome))
    return pd.DataFrame(found, columns=pd.Index(["df_partition", "df_offset", "outcome"]))
