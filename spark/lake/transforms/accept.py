"""The acceptance fold of the judged log (DESIGN R4), over a DataFrame: the platform's own fold, run where the rows are.

What nearly every run accepts is all of it, so the fold names what it rejects: a few numbers come back, and the
records themselves never leave their place.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dataforge.stream.judged import Acceptance, Stamps

_RUN = "partition int, next bigint, rejected array<bigint>, gap bigint, records bigint"


class Run(NamedTuple):
    """What became of consecutive judged records of one partition."""

    partition: int
    next: int
    """The fold after them, in raw offsets."""
    rejected: list[int]
    """Judged offsets of those that are not accepted."""
    gap: int | None
    """One after the last accepted that claims a raw offset nobody judged, by its judged offset."""
    records: int


def folded(placed: DataFrame, following: Mapping[int, int]) -> DataFrame:
    """*Shape*: one `Run` a partition. `following`: partition -> the fold's `next` before the records, 0 by default.

    `placed` has partition, offset, src and base; a partition's records must be consecutive and all there.
    """
    before = dict(following)

    def fold(key: tuple[Any, ...], records: pd.DataFrame) -> pd.DataFrame:
        partition = int(key[0])
        return pd.DataFrame([_fold(partition, before.get(partition, 0), records)._asdict()]).astype({"gap": "Int64"})

    return placed.select("partition", "offset", "src", "base").groupBy("partition").applyInPandas(fold, _RUN)


def _fold(partition: int, following: int, records: pd.DataFrame) -> Run:
    ordered = records.sort_values("offset")
    offsets = ordered["offset"].to_numpy(np.int64)
    acceptance = Acceptance(following)
    said = Stamps([], ordered["src"].to_numpy(np.int64), ordered["base"].to_numpy(np.int64), [])
    accepted, gap = acceptance.accept(said)
    rejected = np.delete(offsets, list(accepted)).tolist()
    return Run(partition, acceptance.next, rejected, None if gap is None else int(offsets[gap]), len(offsets))


def runs(folded: DataFrame) -> list[Run]:
    """Bring them home."""
    return [
        Run(row["partition"], row["next"], list(row["rejected"]), row["gap"], row["records"])
        for row in folded.collect()
    ]


def accepted(judged: DataFrame, found: Sequence[Run]) -> DataFrame:
    """The records without those that the fold rejected."""
    rejected = [(run.partition, offset) for run in found for offset in run.rejected]
    if not rejected:
        return judged
    frame = judged.sparkSession.createDataFrame(rejected, "partition int, offset bigint")
    return judged.join(F.broadcast(frame), ["partition", "offset"], "left_anti")
