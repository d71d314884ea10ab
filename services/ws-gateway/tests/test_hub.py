"""What a rolled-back store took back leaves the screens, though the feed goes on where the follower expects it."""

import asyncio
import json
from typing import Any

from dataforge.kpi.catalogue import Catalogue
from dataforge.state.memory import MemoryState
from dataforge.testing.kpis import KpiWriter, sale, sample_domain

from shown_rows import shown_rows
from ws_gateway.hub import Hub
from ws_gateway.place import token_from

T0 = 1_700_000_000_000 // 60_000 * 60_000
DOMAIN = sample_domain(partitions=1)
NAME = DOMAIN.events[0].contract.name
SELECTION = Catalogue([DOMAIN]).select(metric="revenue", window="10s", by=("store",))


class Nobody:
    def __init__(self) -> None:
        self.frames: list[str] = []

    def push(self, channel: Any, frame: bytes, change: Any) -> bool:
        self.frames.append(json.loads(frame)["type"])
        return True

    def begin(self, channel: Any, first: Any, resync: str | None = None) -> None:
        self.frames.append(first.kind)


async def until_frames(watcher: Nobody, count: int) -> None:
    async with asyncio.timeout(5):
        while len(watcher.frames) < count:
            await asyncio.sleep(0)


async def test_a_channel_ahead_of_its_store_is_read_again() -> None:
    state, watcher = MemoryState(), Nobody()
    hub = Hub(state, conflate_s=0)
    first = KpiWriter(state, DOMAIN, 0)
    await first.open("a")
    await first.write([sale(T0, "1")])
    earlier, tail = state.snapshot(), (await state.head(NAME, 0)).cursor
    await first.write([sale(T0, "2"), sale(T0, "2"), sale(T0, "2")])

    channel = hub.watch(SELECTION, 60, watcher)  # its snapshot is newer than what a follower at `tail` has seen
    await until_frames(watcher, 1)
    state.roll_back(earlier)
    second = KpiWriter(MemoryState(), DOMAIN, 0)
    await second.open("aside")
    await second.write([sale(T0, "1")])
    second._state = state
    await second.open("b")
    await second.write([sale(T0, "3")])
    [(_, [_, commit])] = await state.feed({(NAME, 0): "0-0"}, 1)
    assert commit.prev == tail
    hub.committed((NAME, 0), [commit])
    hub.settled()
    assert watcher.frames == ["snapshot"]

    hub.head((NAME, 0), (await state.head(NAME, 0)).cursor)
    await until_frames(watcher, 2)
    assert watcher.frames == ["snapshot", "snapshot"]
    table = SELECTION.view.table.id
    expected = shown_rows(SELECTION, 60, [await state.read(NAME, 0, table, 10_000, 0, 2**53)])
    assert {label for _, label in channel.shown} == {'["1"]', '["3"]'}
    assert len(expected) == 2


async def test_a_second_look_that_finds_the_same_sends_nothing_again() -> None:
    state, watcher = MemoryState(), Nobody()
    hub = Hub(state, conflate_s=0)
    writer = KpiWriter(state, DOMAIN, 0)
    await writer.open()
    await writer.write([sale(T0)])
    hub.watch(SELECTION, 60, watcher)
    await until_frames(watcher, 1)
    hub.broken((NAME, 0))
    await until_frames(watcher, 2)
    assert watcher.frames == ["snapshot", "delta"]


async def test_nothing_is_worked_out_for_a_client_that_left_before_its_first_frame() -> None:
    state, hub_state = MemoryState(), MemoryState()
    ahead, behind = KpiWriter(state, DOMAIN, 0), KpiWriter(hub_state, DOMAIN, 0)
    for writer in (ahead, behind):
        await writer.open("a")
        await writer.write([sale(T0)])
    await ahead.write([sale(T0)])
    faster, hub, waiting, staying = Hub(state), Hub(hub_state), Nobody(), Nobody()
    seen = faster.watch(SELECTION, 60, first := Nobody())
    await until_frames(first, 1)
    before = asyncio.all_tasks()

    channel = hub.watch(SELECTION, 60, staying)
    await until_frames(staying, 1)
    assert hub.watch(SELECTION, 60, waiting, token_from(seen.place.token)) is channel
    while not (resuming := {task for task in asyncio.all_tasks() - before if "resume" in task.get_name()}):
        await asyncio.sleep(0)
    hub.leave(channel, waiting)
    await asyncio.wait(resuming, timeout=5)
    assert all(task.cancelled() for task in resuming)
    assert not waiting.frames
    hub.leave(channel, staying)
    faster.leave(seen, first)
