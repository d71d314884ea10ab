"""The acceptance fold of the judged log (DESIGN R4), over a DataFrame: the platform's own fold, run where the rows are.

What nearly every run accepts is all of it, so the fold names what it rejects: a few numbers come back, and the
records themselves never leave their place.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dataforge.errors import Fatal
from dataforge.stream.judged import Acceptance, Stamps, unpacked

from lake.failures import whole_story
from lake.transforms.stamp import BASE, SRC

_RUN = "partition int, next bigint, rejected array<bigint>, gap bigint, records bigint"
_RUN_ARROW = pa.schema(
    [
        ("partition", pa.int32()),
        ("next", pa.int64()),
        ("rejected", pa.list_(pa.int64())),
        ("gap", pa.int64()),
        ("records", pa.int64()),
    ]
)
_BROKEN = "these records are not each the verdict on the raw record after the one before"
_ROWS_OF_A_TASK = 1 << 33
"""Spark counts the rows of each task from a multiple of this."""

Offsets = NDArray[np.int64]


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


def folded_in_order(packed: DataFrame, following: Mapping[int, int]) -> DataFrame:
    """As `folded`, where each task has consecutive records of one partition in their order, and no other task has any
    of it: then nothing need be shuffled or sorted. A query over anything else fails.

    `packed` has partition, offset and stamp.
    """
    before = dict(following)

    def fold(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        found: Run | None = None
        last = -1
        for batch in batches:
            partitions, offsets = (column.to_numpy() for column in batch.columns[:2])
            if not len(offsets):
                continue
            partition = int(partitions[0])
            run = found or Run(partition, before.get(partition, 0), [], None, 0)
            if (
                run.partition != partition
                or (partitions != partition).any()
                or (np.diff(offsets, prepend=last) < 1).any()
            ):
                raise Fatal(f"a task has not got the records of one partition in their order: {partition}/{offsets[0]}")
            said = unpacked(_together(batch.column(2)))
            src, base = (said[name].astype(np.int64) for name in ("src", "base"))
            found, last = _folded_on(run, offsets, src, base), int(offsets[-1])
        if found is not None:
            yield pa.RecordBatch.from_pylist([found._asdict()], _RUN_ARROW)

    return packed.select("partition", "offset", "stamp").mapInArrow(fold, _RUN)


def unbroken(packed: DataFrame, starts: Mapping[int, int], following: Mapping[int, int]) -> DataFrame:
    """*Shape*: adds `src`. A query fails (`is_broken`) where the records of a partition are not, one after the other
    from `starts` on, the verdicts on the raw records from `following` on: what the fold accepts whole.

    `packed` is what `folded_in_order` takes. Nothing comes back to the driver, so nothing need be read twice: what
    the fold would come to is known before. The last records may be missing: see to it that they are there.
    """
    # A row's number in its task must be its offset's distance from the start: no record is missing before it. Numbers
    # in a stamp are compared as the eight bytes they are, the greatest first: to read them costs more than all else.
    start = _by_partition(starts)
    src = F.col("offset") - start + _by_partition({p: following.get(p, 0) for p in starts})
    row = F.monotonically_increasing_id().bitwiseAND(F.lit(_ROWS_OF_A_TASK - 1))
    holds = (
        (F.col("offset") - start == row)
        & (F.substring("stamp", *SRC) == src.cast("binary"))
        & (F.substring("stamp", *BASE) <= src.cast("binary"))
    )
    return packed.withColumn("src", F.when(holds, src).otherwise(F.raise_error(F.lit(_BROKEN))))


def _by_partition(numbers: Mapping[int, int]) -> Column:
    """A row's partition's number; null for one that has none."""
    pairs = (F.lit(part).cast(kind) for p, n in numbers.items() for part, kind in ((p, "int"), (n, "bigint")))
    return F.create_map(*pairs)[F.col("partition")]


def is_broken(error: Exception) -> bool:
    """Did a query end because records are not `unbroken`?"""
    return _BROKEN in whole_story(error)


def _together(values: pa.BinaryArray) -> memoryview:
    """The bytes of all values, one after the other, where they are."""
    _, ends, data = values.buffers()
    first, last = np.frombuffer(ends, np.int32)[[values.offset, values.offset + len(values)]].tolist()
    return memoryview(data)[first:last]


def _folded_on(run: Run, offsets: Offsets, src: Offsets, base: Offsets) -> Run:
    """The run, and the records that follow it."""
    acceptance = Acceptance(run.next)
    accepted, gap = acceptance.accept(Stamps([], src, base, []))
    rejected = [] if len(accepted) == len(offsets) else np.delete(offsets, list(accepted)).tolist()
    unchanged = None if accepted else run.gap
    standing = unchanged if gap is None else int(offsets[gap])
    return Run(run.partition, acceptance.next, run.rejected + rejected, standing, run.records + len(offsets))


def _fold(partition: int, following: int, records: pd.DataFrame) -> Run:
    ordered = records.sort_values("offset")
    columns = (ordered[name].to_numpy(np.int64) for name in ("offset", "src", "base"))
    return _folded_on(Run(partition, following, [], None, 0), *columns)


def runs(folded: DataFrame) -> list[Run]:
    """Bring them home. *Raises* `Fatal` where a partition was folded in two."""
    rows = folded.collect()
    if len({row["partition"] for row in rows}) < len(rows):
        raise Fatal("the records of one partition were in more than one task, and cannot be folded so")
    return [Run(row["partition"], row["next"], list(row["rejected"]), row["gap"], row["records"]) for row in rows]


def accepted(judged: DataFrame, found: Sequence[Run]) -> DataFrame:
    """The records without those that the fold rejected."""
    rejected = [(run.partition, offset) for run in found for offset in run.rejected]
    if not rejected:
        return judged
    frame = judged.sparkSession.createDataFrame(rejected, "partition int, offset bigint")
    return judged.join(F.broadcast(frame), ["partition", "offset"], "left_anti")
