"""Start the proxies' process, and steer it.

async with Proxies(paths, seed=1) as proxies:
    number = await proxies["kafka"].impose(BlackHole())
    await proxies["kafka"].lift(number)
"""

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec

from devstack.chaos.proxy.conditions import Condition, DropAll, Impose, Lift, Listen, Look, Reply, Request, Setup
from devstack.errors import StackError
from devstack.paths import StackPaths
from devstack.ports import PortClaims
from devstack.program import last_words
from devstack.settings import inherited

UPSTREAMS = {"kafka": "kafka-proxied", "valkey": "valkey", "s3": "s3"}
"""Proxy -> the name of the server's port in the stack's state."""
_STOP_S = 10.0


class Proxy:
    """One server's proxy, as seen by who steers it."""

    def __init__(self, name: str, port: int, owner: "Proxies") -> None:
        self.name, self.port, self._owner = name, port, owner

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def impose(self, condition: Condition) -> int:
        """Returns the number to lift it by. Conditions imposed at the same time all hold, in order."""
        return (await self._owner.ask(Impose(self.name, condition)))["number"]

    async def look(self, number: int) -> Reply:
        """What it did so far: effect -> count."""
        return await self._owner.ask(Look(self.name, number))

    async def lift(self, number: int) -> Reply:
        """What it did: effect -> count. Nothing where it is not in force any more."""
        return await self._owner.ask(Lift(self.name, number))

    async def drop_all(self) -> int:
        """Reset every open connection; how many there were."""
        return (await self._owner.ask(DropAll(self.name)))["connections"]


class Proxies(Mapping[str, Proxy]):
    """*Guarantees*: each port listens once entered; the process ends with this one, however this one ends."""

    def __init__(self, paths: StackPaths, *, seed: int, upstreams: Mapping[str, str] = UPSTREAMS) -> None:
        self._paths, self._seed, self._upstreams = paths, seed, upstreams
        self._claims = PortClaims()
        self._proxies: dict[str, Proxy] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._one_at_a_time = asyncio.Lock()

    async def __aenter__(self) -> Self:
        ports = self._claims.claim(dict.fromkeys(self._upstreams, 0))
        self._proxies = {name: Proxy(name, port, self) for name, port in ports.items()}
        listen = {name: Listen(port, self._upstreams[name]) for name, port in ports.items()}
        setup = Setup(str(self._paths.state), self._seed, listen)
        self._paths.logs.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "devstack.chaos.proxy", msgspec.json.encode(setup).decode()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=inherited(),
                cwd=self._paths.data,
                start_new_session=True,  # Ctrl-C is the chaos run's to handle: it heals first
            )
        await self._reply()
        return self

    async def __aexit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        self._claims.release()

    async def ask(self, request: Request) -> Reply:
        """*Raises* `StackError` where the process has ended. Cancelled, it is obeyed all the same."""
        return await asyncio.shield(self._exchange(request))  # a reply left behind would answer the next request

    async def _exchange(self, request: Request) -> Reply:
        async with self._one_at_a_time:
            if self._process is None or self._process.stdin is None:
                raise StackError("the proxies do not run")
            with suppress(ConnectionError):  # its end shows in the reply
                self._process.stdin.write(msgspec.json.encode(request) + b"\n")
                await self._process.stdin.drain()
            return await self._reply()

    async def _reply(self) -> Reply:
        line = b""
        if self._process is not None and self._process.stdout is not None:
            line = await self._process.stdout.readline()
        if not line:
            raise StackError(f"the proxies have ended: {last_words(self._log)}")
        return msgspec.json.decode(line, type=Reply)

    @property
    def _log(self) -> Path:
        return self._paths.log("proxies")

    def __getitem__(self, name: str) -> Proxy:
        return self._proxies[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._proxies)

    def __len__(self) -> int:
        return len(self._proxies)
