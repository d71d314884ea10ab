"""What the live fold made of each valid record: counted, duplicate or late (DESIGN R6a).

Told a second time, from docs/specs/domain.md and docs/specs/state.md: who judges the live numbers shares no code
with the aggregator. Partitions are folded apart from each other, each as a stream in the order of its log: what is in
memory are the ids of the horizon, not the log.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dataforge.contracts.model import EventType

MINUTE_MS = 60_000
_NAMES = pd.Index(["df_partition", "df_offset", "outcome"])
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

    def fold(records: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        return folded(records, lateness_ms, horizon_ms)

    records = log.join(said, ["partition", "offset"], "left")
    ordered = records.repartition("partition").sortWithinPartitions("partition", "offset")
    return ordered.mapInPandas(fold, _OUTCOME)


def folded(records: Iterable[pd.DataFrame], lateness_ms: int, horizon_ms: int) -> Iterator[pd.DataFrame]:
    """Any partitions, one after the other, each in the order of its offsets. `df_id` is null in records that are not
    valid. Pure.
    """
    at: Any = None
    fold = _Fold(lateness_ms, horizon_ms)
    for batch in records:
        for partition, part in batch.groupby("partition", sort=False):
            if partition != at:
                at, fold = partition, _Fold(lateness_ms, horizon_ms)
            yield fold.take(part)


class _Fold:
    """Of one partition."""

    def __init__(self, lateness_ms: int, horizon_ms: int) -> None:
        self._lateness_ms, self._horizon_ms = lateness_ms, horizon_ms
        self._seen: dict[str, int] = {}
        """Id -> the minute of the log's clock that it was first seen in."""
        self._clock = self._watermark = self._minute = 0

    def take(self, records: pd.DataFrame) -> pd.DataFrame:
        clock = np.maximum.accumulate(np.maximum(records["ts_ms"].to_numpy(np.int64), self._clock))
        minutes = (clock - clock % MINUTE_MS).tolist()
        found: list[tuple[Any, Any, str]] = []
        columns = (records["partition"], records["offset"], records["ts_ms"], records["df_id"], records["at_ms"])
        for partition, offset, ts_ms, event_id, at_ms, minute in zip(*columns, minutes, strict=True):
            if minute > self._minute:
                self._forget(minute)
            if isinstance(event_id, str):
                found.append((partition, offset, self._outcome(event_id, int(at_ms), int(ts_ms))))
        self._clock = int(clock[-1]) if len(clock) else self._clock
        return pd.DataFrame(found, columns=_NAMES)

    def _outcome(self, event_id: str, at_ms: int, ts_ms: int) -> str:
        if event_id in self._seen:
            return "duplicate"
        self._seen[event_id] = self._minute
        late = at_ms + self._lateness_ms <= self._watermark
        self._watermark = max(self._watermark, min(at_ms, ts_ms))
        return "late" if late else "counted"

    def _forget(self, minute: int) -> None:
        """Ids are forgotten by whole minutes of the log's clock, once the horizon has passed since the minute's end."""
        until = minute - self._horizon_ms - MINUTE_MS
        self._minute = minute
        self._seen = {event_id: seen for event_id, seen in self._seen.items() if seen > until}
