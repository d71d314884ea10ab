"""ws-gateway: update feeds of the partitions, and of what the lake corrected -> channels -> WebSocket clients.

Guarantees: a client's rows are what the partitions' state says, absolute and in whole commits; every frame
names what it covers (`next`, `token`); memory per client is bounded.
"""

import asyncio
import logging
from collections.abc import Iterable
from itertools import count
from typing import Any

from dataforge.contracts.model import Domain
from dataforge.corrections import OVERLAY
from dataforge.kpi.catalogue import Catalogue
from dataforge.state.store import StateReader

from ws_gateway.feed import Follower
from ws_gateway.hub import Hub
from ws_gateway.ledgers import Ledgers
from ws_gateway.server import Server
from ws_gateway.settings import GatewaySettings
from ws_gateway.traces import push_spans

logger = logging.getLogger(__name__)
_TICK_S = 0.5


class Gateway:
    """The whole service, built from its settings and a state store."""

    def __init__(self, settings: GatewaySettings, domains: Iterable[Domain], state: StateReader) -> None:
        catalogue, numbers = Catalogue(domains), count(1)
        self._settings = settings
        self.hub = Hub(
            state,
            conflate_s=settings.conflate_ms / 1000,
            heartbeat_s=settings.heartbeat_s,
            max_channels=settings.max_channels,
            push_trace=push_spans,
            numbers=numbers,
        )
        self.ledgers = Ledgers(state, numbers, max_channels=settings.max_channels)
        self.follower = Follower(state, [*catalogue.partitions(), OVERLAY], self.hub)
        self.server = Server(
            self.hub,
            self.ledgers,
            catalogue,
            token=settings.api_token.get_secret_value() if settings.api_token else None,
            origins=settings.origins,
            limits=settings.limits,
            max_clients=settings.max_clients,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`. *Raises* whatever ended it otherwise."""
        await self.server.start(self._settings.host, self._settings.port)
        logger.info("listening", extra={"port": self.server.port})
        tasks: set[asyncio.Future[Any]] = {
            asyncio.create_task(self.follower.run(), name="follow the feeds"),
            asyncio.create_task(self.ledgers.run(), name="read the ledgers"),
            asyncio.create_task(self._tick(), name="tick"),
            self.hub.failed,
            asyncio.create_task(stop.wait(), name="wait for stop"),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        finally:
            await self.server.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self.server.tick()
            self.hub.beat()
