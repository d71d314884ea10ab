"""Landing objects as a DataFrame. Read by the platform's own code, in the workers, each object checked as it is read.

Not by Spark's Parquet reader: that would need a second S3 client beside Iceberg's, and would take an object at its
word. And never by making the objects part of a table: compaction and expiry would then remove what landed.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from dataforge.errors import Fatal
from dataforge.storage.landing_file import Footer, footer_of

from lake.landing import Bucket

_HEADERS = "array<struct<name: string, value: binary>>"
JUDGED = {
    "partition": "int",
    "offset": "bigint",
    "timestamp": "bigint",
    "key": "binary",
    "value": "binary",
    "headers": _HEADERS,
}
"""Column -> type."""
STAMPS = {name: JUDGED[name] for name in ("partition", "offset", "headers")}
"""What the acceptance fold needs of them."""
_BATCH_ROWS = 10_000
_OBJECTS_PER_TASK = 4

Read = Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]


def records(spark: SparkSession, bucket: Bucket, keys: Sequence[str], columns: Mapping[str, str] = JUDGED) -> DataFrame:
    """The records of these objects, in no order. *Shape*: `JUDGED`, or fewer of its columns."""
    tasks = max(1, min(len(keys) // _OBJECTS_PER_TASK, 4 * spark.sparkContext.defaultParallelism))
    named = spark.createDataFrame([(key,) for key in keys], "key string").repartition(tasks)
    return named.mapInArrow(
        reader(bucket, tuple(columns)), ", ".join(f"{name} {type_}" for name, type_ in columns.items())
    )


def reader(bucket: Bucket, names: Sequence[str]) -> Read:
    """Keys in, records out; for the workers."""

    def read(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        store = bucket.store()
        with asyncio.Runner() as loop:
            loop.run(store.open())
            try:
                for batch in batches:
                    for key in batch.column(0).to_pylist():
                        found = checked(key, loop.run(store.get(key)))
                        yield from found.select(list(names)).combine_chunks().to_batches(_BATCH_ROWS)
            finally:
                loop.run(store.close())

    return read


def checked(key: str, data: bytes) -> pa.Table:
    """The object's rows. *Raises* `Fatal` where they are not what its footer says."""
    footer = footer_of(data)
    if isinstance(footer, int):
        raise Fatal(f"{key}: its footer is larger than the object")
    try:
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
        if problem := _misfit(table, footer):
            raise Fatal(f"{key} is damaged: {problem}")
    except (pa.ArrowException, OSError, KeyError) as error:
        raise Fatal(f"{key} is damaged: {error}") from error
    return table


def _misfit(table: pa.Table, footer: Footer) -> str | None:
    offsets = table.column("offset").to_pylist()
    crc = 0
    for value in table.column("value").to_pylist():
        crc = crc32(value or b"", crc)
    found = (len(offsets), offsets[0], offsets[-1], crc) if offsets else (0, 0, 0, crc)
    said = (footer.count, footer.first, footer.last, footer.crc)
    if found != said:
        return f"its footer says (rows, first, last, crc) {said}, its rows say {found}"
    if any(a >= b for a, b in pairwise(offsets)):
        return "its offsets do not rise"
    return None
