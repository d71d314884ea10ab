"""Reads the ledgers that somebody watches, once a second, and hands out what changed."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from dataforge.contracts.model import Domain
from dataforge.errors import Transient
from dataforge.state.store import StateReader

from ws_gateway import broadcast
from ws_gateway.arrivals import First
from ws_gateway.channel import Change
from ws_gateway.ledger import LedgerChannel, Source, sources_of
from ws_gateway.protocol import too_many_channels

logger = logging.getLogger(__name__)


class Watcher(broadcast.Watcher, Protocol):
    """As in `hub`."""

    def begin(self, channel: LedgerChannel, first: First) -> None: ...


@dataclass(slots=True)
class _Live:
    channel: LedgerChannel
    watchers: set[Watcher] = field(default_factory=set)
    ready: bool = False


class Ledgers:
    """*Guarantees*: a domain's ledger is read at most once a `period_s`, however many watch, and never for nobody."""

    def __init__(
        self, state: StateReader, numbers: Iterator[int], *, period_s: float = 1.0, max_channels: int = 1_000
    ) -> None:
        """`numbers`: of channels, shared with the metrics'."""
        self._max_channels = max_channels
        self._state = state
        self._numbers = numbers
        self._period_s = period_s
        self._open: dict[tuple[str, int], _Live] = {}
        self._news = asyncio.Event()

    def watch(self, domain: Domain, limit: int, watcher: Watcher) -> LedgerChannel:
        """`watcher.begin` follows, after this call has returned. *Raises* `ProtocolError` too_many_channels."""
        key = (domain.name, limit)
        if key not in self._open:
            if len(self._open) >= self._max_channels:
                raise too_many_channels(self._max_channels)
            self._open[key] = _Live(LedgerChannel(domain, next(self._numbers), limit))
            self._news.set()
        live = self._open[key]
        live.watchers.add(watcher)
        if live.ready:
            asyncio.get_running_loop().call_soon(self._begin, live, watcher)
        return live.channel

    @staticmethod
    def _begin(live: _Live, watcher: Watcher) -> None:
        if watcher in live.watchers:
            change = Change(reset=True)
            watcher.begin(live.channel, First(change, *live.channel.frame(change)))

    def leave(self, channel: LedgerChannel, watcher: Watcher) -> None:
        key = (channel.domain.name, channel.limit)
        live = self._open.get(key)
        if live is not None and live.channel is channel:
            live.watchers.discard(watcher)
            if not live.watchers:
                del self._open[key]

    async def run(self) -> None:
        """Read until cancelled; while the store is away, what was read last stays on the screens."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._open:
                for domain in {live.channel.domain.name: live.channel.domain for live in self._open.values()}.values():
                    try:
                        self._tell(domain, await self._read(domain))
                    except Transient as error:
                        logger.warning("the ledger of %s cannot be read: %s", domain.name, error)
                await asyncio.sleep(self._period_s)

    async def _read(self, domain: Domain) -> dict[Source, dict[int, dict[str, Any]]]:
        sources = sources_of(domain)
        found = await asyncio.gather(*(self._state.ledger(*source) for source in sources))
        return dict(zip(sources, found, strict=True))

    def _tell(self, domain: Domain, ledgers: dict[Source, dict[int, dict[str, Any]]]) -> None:
        for live in [one for (name, _), one in self._open.items() if name == domain.name]:
            change = live.channel.show(ledgers)
            if not live.ready:
                live.ready = True
                for watcher in list(live.watchers):
                    self._begin(live, watcher)
            elif change is not None:
                broadcast.broadcast(live.watchers, live.channel, *live.channel.frame(change), change)
