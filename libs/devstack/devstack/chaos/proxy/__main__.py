"""The proxies' process: requests as JSON lines on standard input, replies on standard output.

It ends when its standard input does, so it cannot outlive whoever started it.
"""

import asyncio
import random
import sys
from pathlib import Path

import msgspec

from devstack.chaos.proxy.conditions import DropAll, Impose, Lift, Look, Reply, Request, Setup
from devstack.chaos.proxy.relay import Relay
from devstack.model import read_state


class Upstream:
    """Where a server of the stack listens, by its state file; read again only when it has changed."""

    def __init__(self, state: Path, name: str) -> None:
        self._state, self._name = state, name
        self._seen_ns = 0
        self._address: tuple[str, int] | None = None

    def __call__(self) -> tuple[str, int] | None:
        if self._state.exists() and (changed_ns := self._state.stat().st_mtime_ns) != self._seen_ns:
            state = read_state(self._state)
            port = state.ports.get(self._name) if state else None
            self._address, self._seen_ns = (("127.0.0.1", port) if port else None), changed_ns
        return self._address


def _obey(relays: dict[str, Relay], request: Request) -> Reply:
    relay = relays[request.proxy]
    match request:
        case Impose(_, condition):
            return relay.impose(condition)
        case Look(_, number):
            return relay.look(number)
        case Lift(_, number):
            return relay.lift(number)
        case DropAll():
            return relay.drop_all()


async def serve(setup: Setup) -> None:
    relays = {
        name: Relay(listen.port, Upstream(Path(setup.state), listen.upstream), random.Random(f"{setup.seed} {name}"))
        for name, listen in setup.listen.items()
    }
    for relay in relays.values():
        await relay.start()
    requests = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    _say({})
    while line := await requests.readline():
        _say(_obey(relays, msgspec.json.decode(line, type=Request)))
    for relay in relays.values():
        await relay.stop()


def _say(reply: Reply) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(reply) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(serve(msgspec.json.decode(sys.argv[1], type=Setup)))
