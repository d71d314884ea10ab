"""A PUT is done whole or not at all, though the store's process is killed in the middle of it.

The embedded store keeps an object in a file. It writes `<key>-<uuid>` first, and lists that name: it is no
torn object of ours, but whoever lists must take only names that were put (see `ObjectStore`).
"""

import asyncio
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import pytest

from dataforge.errors import Transient
from dataforge.storage.s3 import S3Store

from devstack.embedded import EmbeddedServers

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MOST_ROUNDS = 5
BUDGET_S = 20.0
"""No further round begins after this."""
WRITERS = 6
NOISE = os.urandom(8 * 2**20)
NAME = re.compile(r"atomic/(\d+)/(\d{6})-(\d+)-(\d+)")
UNFINISHED = re.compile(NAME.pattern + r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass
class Written:
    """What one round put, by key."""

    acknowledged: dict[str, bytes] = field(default_factory=dict)
    unknown: dict[str, bytes] = field(default_factory=dict)


def store_of(servers: EmbeddedServers, patience_s: float) -> S3Store:
    reach = servers.endpoints
    return S3Store(
        reach.s3_bucket,
        endpoint=reach.s3_endpoint,
        region=reach.s3_region,
        patience_s=patience_s,
        access_key=reach.s3_access_key,
        secret_key=reach.s3_secret_key,
    )


async def write_until_it_dies(
    store: S3Store, writer: int, round_: int, chance: random.Random, written: Written
) -> None:
    number = writer
    while True:
        size = chance.randrange(2**19, 8 * 2**20)
        start = chance.randrange(len(NOISE) - size)
        data = NOISE[start : start + size]
        key = f"atomic/{round_}/{number:06d}-{size}-{crc32(data)}"
        try:
            assert await store.put_if_absent(key, data)
        except Transient:
            written.unknown[key] = data
            return
        written.acknowledged[key] = data
        number += WRITERS


async def eventually(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


async def killed_round(servers: EmbeddedServers, round_: int, chance: random.Random) -> Written:
    written, due = Written(), chance.randint(1, 2 * WRITERS)
    store = store_of(servers, patience_s=0.0)
    await store.open()
    async with asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(write_until_it_dies(store, writer, round_, chance, written))
        await eventually(lambda: len(written.acknowledged) >= due)
        await asyncio.sleep(chance.uniform(0, 0.1))  # the random moment; nothing is waited for
        await asyncio.to_thread(servers.kill, "s3proxy")
    await store.close()
    return written


async def assert_whole(store: S3Store, round_: int, written: Written) -> int:
    """Returns how many unfinished names are listed."""
    keys = [key async for key in store.list(f"atomic/{round_}/")]
    ours = [key for key in keys if NAME.fullmatch(key)]
    unfinished = [key for key in keys if UNFINISHED.fullmatch(key)]
    assert sorted(ours + unfinished) == sorted(keys)
    assert set(ours) >= set(written.acknowledged), "an acknowledged object is lost"
    everything = written.acknowledged | written.unknown
    for key in ours:
        data = await store.get(key)
        assert len(data) == len(everything[key]), f"{key} is torn"
        assert crc32(data) == crc32(everything[key]), f"{key} holds other bytes"
    for key, data in written.unknown.items():
        assert await store.put_if_absent(key, data) is (key not in ours)
        assert await store.get(key) == data
    return len(unfinished)


async def test_put_is_atomic_under_kill_9(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    acknowledged = unknown = unfinished = round_ = 0
    began = time.monotonic()
    servers = await asyncio.to_thread(EmbeddedServers(tmp_path, ["s3proxy"]).start)
    try:
        while round_ < 2 or (round_ < MOST_ROUNDS and time.monotonic() - began < BUDGET_S):
            round_ += 1
            written = await killed_round(servers, round_, chance)
            await asyncio.to_thread(servers.start_again, "s3proxy")
            store = store_of(servers, patience_s=10.0)
            await store.open()
            unfinished += await assert_whole(store, round_, written)
            await store.close()
            acknowledged, unknown = acknowledged + len(written.acknowledged), unknown + len(written.unknown)
    finally:
        await asyncio.to_thread(servers.stop)
    seen = f"{acknowledged} acknowledged, {unknown} cut off, {unfinished} unfinished names listed"
    print(f"seed {seed}, {round_} rounds: {seen}")  # noqa: T201
    assert unknown, "nothing was in flight when the store died"
