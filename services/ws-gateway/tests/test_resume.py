"""Clients that are cut and come back, stores that forget and feeds that are trimmed: no frame may show anything
but the rows of the place that its token names.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from dataforge.corrections import OVERLAY, overlay_table
from dataforge.kpi.catalogue import Catalogue, Selection
from dataforge.state.memory import MemoryState
from dataforge.state.model import PartitionRead
from dataforge.testing.kpis import KpiWriter, OverlayWriter, correction, sale, sample_domain

from devstack.oracle.live import Screen
from shown_rows import shown_rows
from ws_gateway.feed import Follower
from ws_gateway.hub import Hub
from ws_gateway.place import CORRECTIONS, At, source_of, token_from
from ws_gateway.protocol import Resync, ServerMessage
from ws_gateway.subscription import Subscription

T0 = 1_700_000_000_000 // 60_000 * 60_000
DOMAIN = sample_domain()
NAME = DOMAIN.events[0].contract.name
CATALOGUE = Catalogue([DOMAIN])
PARTITIONS = range(2)


def select(**question: Any) -> Selection:
    return CATALOGUE.select(**{"metric": "revenue", "window": "10s", "by": ("store",)} | question)


class History:
    """The store, its writers, and what every partition said at every place it ever had."""

    def __init__(self, selection: Selection, limit: int, feed_cap: int) -> None:
        self.selection, self.limit = selection, limit
        self.state = MemoryState(feed_cap=feed_cap)
        self._claims = 0
        self._batches: list[list[list[Any]]] = [[] for _ in PARTITIONS]
        self._saved: list[tuple[Any, list[list[list[Any]]]]] = []
        self.writers = [KpiWriter(self.state, DOMAIN, p) for p in PARTITIONS]
        self.overlay = OverlayWriter(self.state)
        self._reads: dict[tuple[int, str], PartitionRead] = {
            (p, ""): PartitionRead(p, 0, 0, 0, "", "") for p in (*PARTITIONS, CORRECTIONS)
        }

    async def open(self) -> "History":
        for p in (*PARTITIONS, CORRECTIONS):
            await self.claim(p)
        self.save()
        return self

    async def claim(self, p: int) -> None:
        """A new owner, who is told nothing that the store does not know."""
        self._claims += 1
        if p == CORRECTIONS:
            self.overlay = OverlayWriter(self.state)
            self.overlay.position = (await self.state.head(*OVERLAY)).position
            await self.overlay.open(f"claim{self._claims}")
            return
        aside, writer = MemoryState(), KpiWriter(self.state, DOMAIN, p)
        writer._state = aside
        await writer.open("aside")
        for batch in self._batches[p]:
            await writer.write(batch)
        writer._state = self.state
        await writer.open(f"claim{self._claims}")
        self.writers[p] = writer

    async def write(self, p: int, batch: list[Any]) -> None:
        await self.writers[p].write(batch, entries=1 + len(batch) % 3)
        self._batches[p].append(batch)
        await self._note(p)

    async def settle(self, p: int) -> None:
        await self.writers[p].settle(self.writers[1 - p].watermark)
        await self._note(p)

    async def correct(self, store: str, start_ms: int, revision: int, cents: int | None) -> None:
        """None: the row is gone."""
        view, size_ms = self.selection.view, self.selection.step_ms
        label, stored = (store,) if view.by else (), () if cents is None else (cents,)
        start_ms -= start_ms % size_ms
        await self.overlay.write(correction(NAME, view, size_ms, start_ms, label, *stored, revision=revision))
        await self._note(CORRECTIONS)

    async def _note(self, p: int) -> None:
        table, step_ms = self.selection.view.table.id, self.selection.step_ms
        table = overlay_table(NAME, table) if p == CORRECTIONS else table
        read = await self.state.read(*source_of(NAME, p), table, step_ms, 0, 2**53)
        self._reads[p, read.cursor] = read

    def save(self) -> None:
        self._saved.append((self.state.snapshot(), [list(b) for b in self._batches]))

    async def roll_back(self, back: int) -> None:
        del self._saved[max(1, len(self._saved) - back) :]
        snapshot, batches = self._saved[-1]
        self.state.roll_back(snapshot)
        self._batches = [list(b) for b in batches]
        for p in (*PARTITIONS, CORRECTIONS):
            await self.claim(p)

    async def heads(self) -> dict[int, str]:
        return {p: (await self.state.head(*source_of(NAME, p))).cursor for p in (*PARTITIONS, CORRECTIONS)}

    async def leads_on_from(self, places: dict[int, At]) -> bool:
        """The store's feeds tell everything after these places. Once they do not, they never do again."""
        for p, head in (await self.heads()).items():
            cursor, after = places[p].cursor, await self.state.feed({source_of(NAME, p): "0-0"}, 0)
            if cursor != head and cursor not in [entry.prev for _, entries in after for entry in entries]:
                return False
        return True

    def rows(self, places: dict[int, At]) -> dict[Any, Any]:
        """What must be on the screen there: worked out as the REST API does."""
        reads = {p: self._reads[p, at.cursor] for p, at in places.items()}
        overlay = reads.pop(CORRECTIONS).windows
        return shown_rows(self.selection, self.limit, list(reads.values()), overlay)

    def next(self, places: dict[int, At]) -> dict[int, int]:
        return {p: self._reads[p, places[p].cursor].next for p in PARTITIONS}


class Client:
    """One subscription over connections that come and go. Each frame is held against the place it names."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.screen = Screen()
        self.slow = False
        self.resyncs: list[dict[int, At]] = []
        """Places from where it was told to resync."""
        self.since: dict[int, At] = {}
        self.fresh = False
        self._watching: tuple[Hub, Any, Subscription] | None = None

    # ---- subscription.Out
    def send(self, frame: bytes) -> bool:
        said = json.loads(frame)
        self.screen.apply(said)
        if self.fresh:
            event(f"first: {said['type']}{' after a token' if self.since else ''}")
            self.fresh = False
        places = token_from(said["token"]).at
        assert self.screen.next == self.history.next(places)
        assert self.screen.rows == self.history.rows(places)
        return True

    def reply(self, message: ServerMessage) -> None:
        assert isinstance(message, Resync)
        event(f"resync: {message.reason}")
        self.resyncs.append(self.since)

    # ---- the connection
    def connect(self, hub: Hub) -> None:
        if self._watching is None:
            subscription = Subscription(self)
            since = token_from(self.screen.token) if self.screen.token else None
            self.since, self.fresh = since.at if since else {}, True
            channel = hub.watch(self.history.selection, self.history.limit, subscription, since)
            self._watching = hub, channel, subscription

    def cut(self) -> None:
        if self._watching is not None:
            hub, channel, subscription = self._watching
            hub.leave(channel, subscription)
            self._watching, self.slow = None, False

    def read_on(self) -> None:
        self.slow = False
        if self._watching is not None:
            _, channel, subscription = self._watching
            subscription.catch_up(channel)


@asynccontextmanager
async def gateway(state: MemoryState) -> AsyncIterator[Hub]:
    hub = Hub(state, conflate_s=0)
    follower = Follower(state, [*((NAME, p) for p in PARTITIONS), OVERLAY], hub, check_after_s=0.005)
    task = asyncio.create_task(follower.run())
    try:
        yield hub
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if hub.failed.done():
            hub.failed.result()
        hub.failed.cancel()


async def until_all_show(history: History, clients: list[Client]) -> None:
    """*Raises* AssertionError, with what is shown and what should be, where they do not come to the same."""
    heads = await history.heads()
    places = {p: At(cursor) for p, cursor in heads.items()}
    try:
        async with asyncio.timeout(10):
            for client in clients:
                while client.screen.token is None or client.screen.rows != history.rows(places):
                    await asyncio.sleep(0.001)
    except TimeoutError:
        pass
    for client in clients:
        assert client.screen.rows == history.rows(places)


batches = st.lists(
    st.builds(sale, st.integers(T0, T0 + 90_000), st.sampled_from("123"), st.just("a"), st.integers(-5, 10_000)),
    max_size=5,
)
partition, one_of_three = st.sampled_from(PARTITIONS), st.integers(0, 2)
cell = (
    st.sampled_from("124"), st.integers(T0, T0 + 90_000), st.integers(1, 3), st.none() | st.integers(0, 10_000),
)  # fmt: skip
steps = st.one_of(
    *[st.tuples(st.just("correct"), *cell)] * 2,
    st.tuples(st.just("write"), partition, batches),
    st.tuples(st.just("write"), partition, batches),
    st.tuples(st.just("settle"), partition),
    st.tuples(st.just("claim"), partition | st.just(CORRECTIONS)),
    st.tuples(st.just("save")),
    st.tuples(st.just("roll back"), st.integers(0, 2)),
    st.tuples(st.just("cut"), one_of_three),
    st.tuples(st.just("connect"), one_of_three, st.booleans()),
    *[st.tuples(st.just("away"), one_of_three, partition, st.lists(batches, max_size=3), st.booleans())] * 4,
    *[
        st.tuples(
            st.just("away"), one_of_three, st.just(CORRECTIONS), st.lists(st.tuples(*cell), max_size=3), st.booleans()
        )
    ]
    * 2,
    st.tuples(st.just("slow"), one_of_three),
    st.tuples(st.just("read on"), one_of_three),
    st.tuples(st.just("restart")),
    *[st.tuples(st.just("run"), st.integers(1, 80))] * 3,
    st.tuples(st.just("check")),
)
SELECTIONS = [
    (select(), 3),
    (select(by=()), 60),
    (select(window="1m"), 2),
    (select(window="rolling:1m"), 1),
    (select(window="rolling:1m", by=()), 12),
    (select(where={"store": ["2", "3"]}), 4),
]


@settings(max_examples=60)
@given(st.sampled_from(SELECTIONS), st.sampled_from([3, 9, 5_000]), st.lists(steps, min_size=5, max_size=40))
async def test_every_frame_shows_the_rows_of_the_place_it_names(
    shown: tuple[Selection, int], feed_cap: int, script: list[Any]
) -> None:
    history = await History(*shown, feed_cap).open()
    clients = [Client(history) for _ in range(3)]
    sections = split(script, "restart")
    for n, section in enumerate(sections):
        async with gateway(history.state) as one, gateway(history.state) as other:
            for client in clients:
                client.connect(one)
            await play(("run", 80), history, clients, (one, other))
            for step in section:
                await play(step, history, clients, (one, other))
                for client in clients:
                    while client.resyncs:
                        assert not await history.leads_on_from(client.resyncs.pop())
            if n == len(sections) - 1:
                for client in clients:
                    client.read_on()
                    client.connect(one)
                await until_all_show(history, clients)
            for client in clients:
                client.cut()


async def play(step: Any, history: History, clients: list[Client], hubs: tuple[Hub, Hub]) -> None:  # noqa: C901 - one case per kind of step
    match step:
        case "write", p, batch:
            await history.write(p, batch)
        case "correct", *cell:
            await history.correct(*cell)
        case "settle", p:
            await history.settle(p)
        case "claim", p:
            await history.claim(p)
        case ("save",):
            history.save()
        case "roll back", back:
            await history.roll_back(back)
        case "cut", n:
            clients[n].cut()
        case "connect", n, other:
            clients[n].connect(hubs[other])
        case "away", n, p, missed, other:
            clients[n].cut()
            for batch in missed:
                await (history.correct(*batch) if p == CORRECTIONS else history.write(p, batch))
            clients[n].connect(hubs[other])
            await play(("run", 80), history, clients, hubs)
        case "slow", n:
            clients[n].slow = True
        case "read on", n:
            clients[n].read_on()
        case "run", cycles:
            for _ in range(cycles):
                await asyncio.sleep(0)
        case _:
            await asyncio.sleep(0.006)  # long enough for the follower to compare heads


def split(script: list[Any], at: str) -> list[list[Any]]:
    sections: list[list[Any]] = [[]]
    for step in script:
        if step[0] == at:
            sections.append([])
        else:
            sections[-1].append(step)
    return sections
