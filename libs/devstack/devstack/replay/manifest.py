"""What was sent, record by record: the oracle's knowledge of the faults."""

from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from devstack.replay.plan import KIND_NAMES
from devstack.replay.purchases import Column

SCHEMA = pa.schema(
    [
        pa.field("partition", pa.int32()),
        pa.field("pass", pa.int64()),
        pa.field("row", pa.int64()),
        pa.field("kind", pa.dictionary(pa.int8(), pa.string())),
        pa.field("event_ms", pa.int64()),
        pa.field("crc", pa.int64()),
    ]
)


@dataclass(slots=True)
class Manifest:
    """*Shape*: one row per record sent, in sending order, so the n-th of a partition is its n-th record in Kafka.

    `row` is the purchase's row in the source file, also for malformed records made from it;
    `event_ms` is what the record says (since the epoch); `crc` is crc32 of its value.
    """

    batches: list[pa.RecordBatch] = field(default_factory=list)

    def add(
        self, partition: Column, pass_: int, row: Column, kind: Column, event_ms: Column, values: list[bytes | None]
    ) -> None:
        names = pa.DictionaryArray.from_arrays(pa.array(kind, pa.int8()), list(KIND_NAMES))
        self.batches.append(
            pa.record_batch(
                [
                    pa.array(partition, pa.int32()),
                    pa.array(np.full(len(row), pass_), pa.int64()),
                    pa.array(row, pa.int64()),
                    names,
                    pa.array(event_ms, pa.int64()),
                    pa.array([crc32(v or b"") for v in values], pa.int64()),
                ],
                schema=SCHEMA,
            )
        )

    def table(self) -> pa.Table:
        return pa.Table.from_batches(self.batches, schema=SCHEMA)

    def write(self, path: Path) -> None:
        pq.write_table(self.table(), path, compression="zstd")
