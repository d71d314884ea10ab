"""From produce to push: how long until a WebSocket frame covers a record."""

import asyncio
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Any, NamedTuple

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from devstack.errors import StackError

_ANSWER_S = 10.0


class Sent(NamedTuple):
    """Records produced together."""

    partition: int
    last: int
    """Offset of the last of them."""
    records: int
    at_s: float


@dataclass(slots=True)
class Coverage:
    """When which raw offset was first covered by a frame, per partition."""

    nexts: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    at_s: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def frame(self, following: Mapping[str, int], now_s: float) -> None:
        for partition, raw_next in following.items():
            nexts = self.nexts[int(partition)]
            if not nexts or raw_next > nexts[-1]:
                nexts.append(raw_next)
                self.at_s[int(partition)].append(now_s)

    def covers(self, ends: Mapping[int, int]) -> bool:
        return all(self.nexts[p][-1:] >= [end] for p, end in ends.items())

    async def reached(self, ends: Mapping[int, int]) -> None:
        """Wait until frames cover everything before `ends`. *Raises* `StackError` where they do not come."""
        deadline_s = time.monotonic() + _ANSWER_S
        while not self.covers(ends):
            if time.monotonic() > deadline_s:
                raise StackError(
                    f"no WebSocket frame covers the last records ({ends}): see `dataforge logs ws-gateway`"
                )
            await asyncio.sleep(0.05)

    def latencies_ms(self, sent: Iterable[Sent]) -> list[float]:
        """One element per record; infinite where no frame ever covered it."""
        found: list[float] = []
        for partition, last, records, at_s in sent:
            at = bisect_left(self.nexts[partition], last + 1)
            covered = self.at_s[partition][at] if at < len(self.nexts[partition]) else float("inf")
            found += [(covered - at_s) * 1000] * records
        return found


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


class _Frame(msgspec.Struct):
    type: str
    next: dict[str, int] = {}
    code: str = ""
    message: str = ""


_frame = msgspec.json.Decoder(_Frame)


class _Listener(WSListener):
    def __init__(self, coverage: Coverage) -> None:
        self.coverage = coverage
        self.types: asyncio.Queue[_Frame] = asyncio.Queue()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            if frame.msg_type == WSMsgType.CLOSE:
                self.types.put_nowait(_Frame("close", message=str(frame.get_close_code())))
                transport.disconnect()
            return
        message = _frame.decode(frame.get_payload_as_bytes())
        if message.next:
            self.coverage.frame(message.next, time.monotonic())
        if message.type not in ("delta", "heartbeat"):
            self.types.put_nowait(message)

    async def expect(self, kind: str) -> None:
        """*Raises* `StackError` where something else comes, or nothing."""
        try:
            message = await asyncio.wait_for(self.types.get(), _ANSWER_S)
        except TimeoutError:
            raise StackError(f"the WebSocket did not answer with {kind!r}: see `dataforge logs ws-gateway`") from None
        if message.type != kind:
            raise StackError(f"the WebSocket answered {message.type} {message.code} {message.message}, not {kind!r}")


@asynccontextmanager
async def watching(ws_url: str, token: str, **question: Any) -> AsyncIterator[Coverage]:
    """Subscribed, as any client would be. `question`: the fields of `subscribe`, without `id`."""
    coverage = Coverage()
    transport, listener = await ws_connect(lambda: _Listener(coverage), ws_url)
    assert isinstance(listener, _Listener)  # noqa: S101 - what the factory made

    def say(**message: Any) -> None:
        transport.send(WSMsgType.TEXT, msgspec.json.encode(message))

    try:
        say(type="auth", token=token)
        await listener.expect("ready")
        say(type="subscribe", id="latency", **question)
        await listener.expect("subscribed")
        await listener.expect("snapshot")
        yield coverage
    finally:
        transport.disconnect()
