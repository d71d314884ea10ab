"""The stack that faults act on: proxies before its servers, two of each worker, an object store whose disk can fill.

async with staged(folder, [retail]) as stage:
    await fault.inject(stage)
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from devstack.chaos.disk import small_disk
from devstack.chaos.fault import Stage
from devstack.chaos.faults import clock
from devstack.chaos.faults.processes import INSTANCES, SESSION_TIMEOUT_S, WORKERS
from devstack.chaos.proxies import Proxies
from devstack.model import SERVICES, ServiceSpec
from devstack.paths import StackPaths
from devstack.replay.replay import TOPIC
from devstack.stack import Stack

_READY_S = 300.0
"""Eleven processes at once, on a machine that may have better things to do."""
_SPARING = {
    "DATAFORGE_FETCH_REST_MS": "100",
    "DATAFORGE_COMMIT_INTERVAL_MS": "250",
    "DATAFORGE_SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
}
"""Fewer and larger batches and commits than where latency matters: two of each worker, proxies and witnesses share one
machine, and what starts again after a fault has to find time there.
"""
OBJECTS_MIB = 512
"""The object store's disk: enough for some millions of events, and filled in a moment."""


def doubled(services: Sequence[ServiceSpec] = SERVICES) -> list[ServiceSpec]:
    """The same with two instances of each worker: one is there to take over from the other."""
    return [msgspec.structs.replace(s, instances=INSTANCES) if s.name in WORKERS else s for s in services]


@asynccontextmanager
async def staged(
    folder: Path,
    domains: Sequence[str | Path],
    services: Sequence[ServiceSpec] | None = None,
    *,
    seed: int = 0,
    raw_topic: str = TOPIC,
) -> AsyncIterator[Stage]:
    """Start it, and stop all of it at the end. *Raises* `StackError` where it does not get ready."""
    paths = StackPaths(folder.absolute())  # noqa: ASYNC240 - it only asks for the current folder
    async with small_disk(paths, OBJECTS_MIB), Proxies(paths, seed=seed) as proxies:
        with Stack.start(
            folder,
            domains,
            services=doubled() if services is None else services,
            env=_through(proxies) | clock.hooked(paths) | _SPARING,
            kafka_proxy=proxies["kafka"].address,
            timeout_s=_READY_S,
            tied=True,
        ) as stack:
            yield Stage(stack, proxies, raw_topic, f"judged.{raw_topic.removeprefix('raw.')}")


def _through(proxies: Proxies) -> dict[str, str]:
    """The environment that leads every service through the proxies."""
    return {
        "DATAFORGE_KAFKA": proxies["kafka"].address,
        "DATAFORGE_REDIS_URL": f"redis://{proxies['valkey'].address}/0",
        "DATAFORGE_S3_ENDPOINT": f"http://{proxies['s3'].address}",
    }
