"""Puts a log's values into objects as they are: what landing-worker does, without a file format.

Run as `python put.py BOOTSTRAP TOPIC PARTITIONS EVENTS`; where to put them is said by the environment of our services.
"""

import gc
import os
import sys
from typing import Any

import aioboto3
import uvloop
from botocore.config import Config
from polling import polled

ROWS, BYTES = 50_000, 16 * 1024 * 1024
"""Of one object, as landing-worker cuts them."""


async def put(bootstrap: str, topic: str, partitions: int, events: int) -> None:
    begun = [0] * partitions
    held: list[list[bytes]] = [[] for _ in range(partitions)]
    sizes = [0] * partitions
    config = Config(
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client: Any = aioboto3.Session().client(
        "s3", endpoint_url=os.environ["DATAFORGE_S3_ENDPOINT"], region_name="us-east-1", config=config
    )
    async with client as s3:

        async def flush(partition: int) -> None:
            key, values = f"put/{topic}/{partition}/{begun[partition]:020d}", held[partition]
            await s3.put_object(Bucket=os.environ["DATAFORGE_S3_BUCKET"], Key=key, Body=b"".join(values))
            begun[partition] += len(values)
            held[partition], sizes[partition] = [], 0

        async for poll in polled(bootstrap, topic, partitions, events):
            for tp, records in poll.items():
                values = [record.value or b"" for record in records]
                held[tp.partition] += values
                sizes[tp.partition] += sum(map(len, values))
                if len(held[tp.partition]) >= ROWS or sizes[tp.partition] >= BYTES:
                    await flush(tp.partition)
        for partition, values in enumerate(held):
            if values:
                await flush(partition)


if __name__ == "__main__":
    gc.set_threshold(50_000, 50, 100)  # as our workers do
    uvloop.run(put(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
