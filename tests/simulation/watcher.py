"""Readers: a gateway process with watchers that apply frames as a client does."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from dataforge.kpi.catalogue import Catalogue, Selection

from simulation.loop import Process
from simulation.servers import RemoteState
from simulation.setup import Setup
from ws_gateway.arrivals import First
from ws_gateway.channel import Change, Channel
from ws_gateway.feed import Follower
from ws_gateway.hub import Hub
from ws_gateway.protocol import since_of
from ws_gateway.subscription import Shown

LIMIT = 6
"""Windows in view."""

Cell = tuple[str, str]
"""(window start, labels as JSON)"""


def cell_of(row: dict[str, Any]) -> Cell:
    return row["start"], json.dumps(row["labels"])


class Client:
    """What a screen shows: rows by window and label, from snapshots and deltas alone."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.rows: dict[Cell, dict[str, Any]] = {}
        self.channel: Channel | None = None
        self.token: str | None = None
        """Where it stands: it comes back with this."""
        self.begun = False
        self.frames = 0

    def begin(self, channel: Channel, first: First, resync: str | None = None) -> None:
        self.begun = True
        self.push(channel, first.frame, first.change)

    def push(self, channel: Shown, frame: bytes, change: Change) -> bool:
        if not self.begun:
            return False  # for others, see `Watcher.begin`
        self.frames += 1
        message = json.loads(frame)
        self.token = message["token"]
        if message["type"] == "snapshot":
            self._show(message["rows"])
        elif message["type"] == "delta":
            gone = set(message["gone"])
            self.rows = {cell: row for cell, row in self.rows.items() if cell[0] not in gone}
            self.rows.update((cell_of(row), row) for row in message["rows"])
        return True

    def _show(self, rows: list[dict[str, Any]]) -> None:
        self.rows = {cell_of(row): row for row in rows}


class Gateway:
    """One life of a ws-gateway below its sockets: follower and hub. Clients that knew another one come back to it."""

    def __init__(
        self,
        process: Process,
        setup: Setup,
        state: RemoteState,
        clients: Sequence[Client],
        failed: Callable[[str], None],
    ) -> None:
        self.process, self._state, self._failed = process, state, failed
        self.clients = list(clients)
        self._names = [(setup.contract.name, p) for p in range(setup.partitions)]
        self._hub: Hub | None = None
        process.spawn(self._run())

    async def _run(self) -> None:
        self._hub = Hub(self._state)
        self._hub.failed.add_done_callback(lambda failed: self._failed(f"{self.process} fails: {failed.exception()!r}"))
        for client in self.clients:
            self._watch(client)
        await Follower(self._state, self._names, self._hub, check_after_s=1.0).run()

    def _watch(self, client: Client) -> None:
        assert self._hub is not None
        client.begun = False
        since = since_of(client.token) if client.token else None
        client.channel = self._hub.watch(client.selection, LIMIT, client, since)

    def cut(self, client: Client, seconds: float) -> None:
        """Its connection breaks; it comes back with its token."""
        if self._hub is not None and client.channel is not None:
            self._hub.leave(client.channel, client)
            client.channel = None
            self.process.call_later(seconds, self._watch, client)


def clients_of(setup: Setup) -> list[Client]:
    """Watchers of totals, of shops, and of shops in rolling windows."""
    catalogue = Catalogue([setup.domain])
    questions: list[dict[str, Any]] = [{"metric": "sales", "window": "60s", "by": ()}]
    if setup.kind == "exact":
        questions.append({"metric": "revenue", "window": "10s", "by": ("shop",)})
        questions.append({"metric": "revenue", "window": "rolling:30s", "by": ("shop",)})
    return [Client(catalogue.select(**question)) for question in questions]
