"""What the landing objects hold, read through the S3 API and pyarrow alone."""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self
from zlib import crc32

import aioboto3
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.config import Config

from devstack.model import Endpoints
from devstack.oracle.rest import rest_of

LANDED = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("ts", pa.int64()),
        ("crc", pa.int64()),
        ("rest", pa.int64()),
    ]
)
_OBJECT = re.compile(r"/\d{20}\.parquet$")


@dataclass(frozen=True, slots=True)
class Bucket:
    endpoint: str
    name: str
    region: str
    access_key: str
    secret_key: str

    @classmethod
    def of(cls, reach: Endpoints) -> Self:
        return cls(reach.s3_endpoint, reach.s3_bucket, reach.s3_region, reach.s3_access_key, reach.s3_secret_key)

    def client(self, **options: Any) -> Any:
        """An asynchronous context manager of aioboto3; `options` are botocore's."""
        session = aioboto3.Session(
            aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key, region_name=self.region or None
        )
        config = Config(s3={"addressing_style": "path"}, **options)
        return session.client("s3", endpoint_url=self.endpoint or None, config=config)

    async def get(self, s3: Any, key: str) -> bytes:
        """An object, by such a client. Read at once: an answer that is not holds one of the client's ten connections,
        and the eleventh would wait for ever.
        """
        answer = await s3.get_object(Bucket=self.name, Key=key)
        return await answer["Body"].read()


@dataclass(frozen=True, slots=True)
class Landing:
    """The landing objects of one topic."""

    bucket: Bucket
    topic: str

    async def read(self) -> pa.Table:
        """*Shape*: one row per row of every object; `crc` is crc32 of the value, `rest` of all beside it."""
        async with self.bucket.client() as s3:
            slots = asyncio.Semaphore(8)

            async def rows(key: str) -> pa.Table:
                async with slots:
                    return _rows(await self.bucket.get(s3, key))

            tables = await asyncio.gather(*map(rows, await self._keys(s3)))
        return pa.concat_tables([LANDED.empty_table(), *tables])

    async def next(self) -> dict[int, int]:
        """Partition -> where its chain goes on, by the footer of its last object."""
        return {partition: footer["next"] for partition, footer in (await self.last_footers()).items()}

    async def last_footers(self) -> dict[int, dict[str, Any]]:
        """Partition -> the footer of its last object."""
        async with self.bucket.client() as s3:
            last: dict[int, str] = {}
            for key in await self._keys(s3):
                partition = int(key.split("/")[-2])
                last[partition] = max(key, last.get(partition, ""))
            return {partition: _footer(await self.bucket.get(s3, key)) for partition, key in last.items()}

    @asynccontextmanager
    async def following(self, field: str = "next") -> AsyncIterator[Callable[[int], Awaitable[dict[int, int]]]]:
        """A function that says, asked again and again, what the footer of the last object of each chain holds.

        It takes the number of partitions; a partition without an object is left out. Objects are asked for by the name
        that the chain's next one has: a store that keeps thousands of them in a folder pays for each listing.
        """
        following: dict[int, int] = {}
        found: dict[int, int] = {}
        once: dict[str, Any] = {"connect_timeout": 2, "read_timeout": 5, "retries": {"total_max_attempts": 1}}
        async with self.bucket.client(**once) as s3:

            async def one(partition: int) -> None:
                while True:
                    key = f"landing/{self.topic}/{partition}/{following.get(partition, 0):020d}.parquet"
                    try:
                        footer = _footer(await self.bucket.get(s3, key))
                    except s3.exceptions.NoSuchKey:
                        return
                    found[partition], following[partition] = footer[field], footer["next"]

            async def ends(partitions: int) -> dict[int, int]:
                await asyncio.gather(*map(one, range(partitions)))
                return dict(found)

            yield ends

    async def _keys(self, s3: Any) -> list[str]:
        prefix = f"landing/{self.topic}/"
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket.name, Prefix=prefix)
        listed = [item["Key"] async for page in pages for item in page.get("Contents", [])]
        # A store that keeps objects in files lists its unfinished uploads too, under other names.
        return [key for key in listed if _OBJECT.search(key)]


def _footer(body: bytes) -> dict[str, Any]:
    metadata = pq.read_metadata(io.BytesIO(body)).metadata or {}
    return json.loads(metadata[b"dataforge"])


def _rows(body: bytes) -> pa.Table:
    table = pq.read_table(io.BytesIO(body), columns=["partition", "offset", "timestamp", "key", "value", "headers"])
    keys, values = table["key"].to_pylist(), table["value"].to_pylist()
    headers = ([(h["name"], h["value"]) for h in found or ()] for found in table["headers"].to_pylist())
    crc, rest = [crc32(v or b"") for v in values], list(map(rest_of, keys, values, headers))
    timestamps = table["timestamp"]
    if pa.types.is_timestamp(timestamps.type):
        timestamps = timestamps.cast(pa.timestamp("ms")).cast(pa.int64())
    columns = [table["partition"], table["offset"], timestamps, pa.array(crc, pa.int64()), pa.array(rest, pa.int64())]
    return pa.table([c.cast(f.type) for c, f in zip(columns, LANDED, strict=True)], schema=LANDED)
