"""A channel shows what the partitions' state says, whatever way it heard of it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.corrections import OVERLAY, Correction, overlay_table
from dataforge.kpi.catalogue import Catalogue, Selection
from dataforge.kpi.columns import ALGEBRA, ColumnKind
from dataforge.kpi.instants import instant
from dataforge.state.memory import MemoryState
from dataforge.state.model import PartitionRead, window_key
from dataforge.testing.kpis import KpiWriter, OverlayWriter, correction, sale, sample_domain

from shown_rows import shown_rows
from ws_gateway.backlog import merged
from ws_gateway.channel import Change, Channel
from ws_gateway.partition import Disconnected
from ws_gateway.place import CORRECTIONS, Token

T0 = 1_700_000_000_000 // 60_000 * 60_000
DOMAIN = sample_domain()
NAME = DOMAIN.events[0].contract.name
CATALOGUE = Catalogue([DOMAIN])


def select(**question: Any) -> Selection:
    return CATALOGUE.select(**{"metric": "revenue", "window": "10s", "by": ("store",)} | question)


def rows(channel: Channel) -> list[dict[str, Any]]:
    return [json.loads(bytes(row)) for row in channel.rows()]


class Log:
    """Two partitions' state, and the commits a channel is told of."""

    def __init__(self) -> None:
        self.state = MemoryState()
        self.writers = [KpiWriter(self.state, DOMAIN, p) for p in range(2)]
        self.overlay = OverlayWriter(self.state)
        self._seen = {OVERLAY: "0-0", **{(NAME, p): "0-0" for p in range(2)}}

    async def open(self) -> "Log":
        for writer in (*self.writers, self.overlay):
            await writer.open()
        return self

    async def reads(self, selection: Selection) -> list[Any]:
        table, step = selection.view.table.id, selection.step_ms
        return [await self.state.read(NAME, p, table, step, 0, 2**53) for p in range(2)]

    async def corrections(self, selection: Selection) -> PartitionRead:
        table, step = overlay_table(NAME, selection.view.table.id), selection.step_ms
        return (await self.state.read(*OVERLAY, table, step, 0, 2**53))._replace(partition=CORRECTIONS)

    async def tell(self, channel: Channel) -> None:
        for (name, partition), entries in await self.state.feed(self._seen, 1):
            self._seen[name, partition] = entries[-1].id
            commit = []
            for entry in entries:
                commit.append(entry)
                if entry.last:
                    channel.apply(CORRECTIONS if (name, partition) == OVERLAY else partition, commit)
                    commit = []

    async def expected(self, selection: Selection) -> list[dict[str, Any]]:
        overlay = (await self.corrections(selection)).windows
        limit = 1 if selection.rolling else 60
        return list(shown_rows(selection, limit, await self.reads(selection), overlay).values())


events = st.lists(
    st.builds(
        sale,
        st.integers(T0, T0 + 90_000),
        st.sampled_from(["1", "2", "3"]),
        st.sampled_from(["a", "b"]),
        st.integers(-500, 10_000),
    ),
    max_size=6,
)
corrected = st.builds(
    lambda store, at, revision, cents: (store, T0 + at * 10_000, revision, cents),
    st.sampled_from(["1", "2", "4"]), st.integers(0, 9), st.integers(1, 3), st.none() | st.integers(0, 900),
)  # fmt: skip


def correct(selection: Selection, store: str, start_ms: int, revision: int, cents: int | None) -> Correction:
    view, size_ms = selection.view, selection.step_ms
    kinds = [view.table.columns[at - 1].kind for at in view.columns]
    stored = [cents if kind in EXACT else ALGEBRA[kind].store(ALGEBRA[kind].held()) for kind in kinds]
    labels = (store,) if view.by else ()
    said = () if cents is None else stored
    return correction(NAME, view, size_ms, start_ms // size_ms * size_ms, labels, *said, revision=revision)


EXACT = (ColumnKind.SUM, ColumnKind.COUNT, ColumnKind.MAX)
SELECTIONS = [
    select(),
    select(by=()),
    select(window="1m"),
    select(window="rolling:1m"),
    select(metric="price", window="rolling:1m", by=()),
    select(where={"store": ["2", "3"]}),
    select(metric="largest", by=()),
    select(metric="customers", window="1m", by=()),
    select(metric="amounts", window="1m", by=()),
    select(metric="top_stores", window="1m", by=()),
]


@settings(max_examples=40)
@given(
    st.sampled_from(SELECTIONS),
    st.lists(
        st.tuples(st.sampled_from(["write 0", "write 1", "correct", "tell", "advance", "read"]), events, corrected),
        max_size=14,
    ),
)
async def test_any_mix_of_snapshots_and_commits_shows_the_state(selection: Selection, steps: list[Any]):
    log = await Log().open()
    channel = Channel(selection, 1, 1 if selection.rolling else 60)
    for step, batch, of_cell in steps:
        if step.startswith("write"):
            await log.writers[int(step[-1])].write(batch, entries=1 + len(batch) % 2)
        elif step == "correct":
            await log.overlay.write(correct(selection, *of_cell))
        elif step == "tell":
            await log.tell(channel)
        elif step == "advance":
            channel.advance()
        else:
            channel.load([*await log.reads(selection), await log.corrections(selection)])
    await log.tell(channel)
    channel.advance()
    assert rows(channel) == await log.expected(selection)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), events, corrected), max_size=10))
async def test_conflated_changes_bring_a_slow_client_to_the_same_rows(steps: list[Any]):
    log = await Log().open()
    channel = Channel(select(), 1, 3)
    channel.advance()
    fast: dict[Any, bytes] = {}
    slow: dict[Any, bytes] = {}
    owed = Change()

    def show(seen: dict[Any, bytes], change: Change) -> None:
        if change.reset:
            seen.clear()
        for cell in [c for c in seen if c[0] in change.gone]:
            del seen[cell]
        wanted = channel.shown.keys() if change.reset else change.cells
        seen.update({cell: bytes(channel.shown[cell]) for cell in wanted if cell in channel.shown})

    for partition, reads, batch, of_cell in steps:
        if partition == 2:
            await log.overlay.write(correct(channel.selection, *of_cell))
        else:
            await log.writers[partition].write(batch)
        await log.tell(channel)
        change = channel.advance()
        show(fast, change)
        owed = merged(owed, change)
        if reads:
            show(slow, owed)
            owed = Change()
    show(slow, owed)
    assert slow == fast == {cell: bytes(row) for cell, row in channel.shown.items()}


async def test_only_changed_rows_are_said():
    log = await Log().open()
    channel = Channel(select(), 1, 60)
    await log.writers[0].write([sale(T0, "1"), sale(T0, "2")])
    await log.tell(channel)
    channel.advance()
    await log.writers[1].write([sale(T0 + 1, "2")])
    await log.tell(channel)
    change = channel.advance()
    assert [json.loads(bytes(r))["labels"] for r in channel.rows(change.cells)] == [{"store": "2"}]
    assert not change.reset


async def test_a_row_that_a_correction_takes_away_leaves_the_screen_and_the_others_stay():
    log = await Log().open()
    channel = Channel(select(), 1, 60)
    await log.writers[0].write([sale(T0, "1"), sale(T0, "2"), sale(T0 + 10_000, "1")])
    await log.tell(channel)
    channel.advance()
    before = channel.at
    await log.overlay.write(correct(channel.selection, "2", T0, 1, None))
    await log.tell(channel)
    change = channel.advance()
    kind, frame = channel.frame(change)
    said = json.loads(frame)
    assert (kind, said["gone"]) == ("delta", [instant(T0)])
    assert [row["labels"]["store"] for row in said["rows"]] == ["1"], "of this window alone"
    again = json.loads(channel.frame(channel.missed(Token(channel.fingerprint, before)))[1])
    assert (again["gone"], again["rows"]) == (said["gone"], said["rows"]), "for those who were away"
    assert said["next"] == {"0": 3, "1": 0}


async def test_windows_behind_the_limit_are_gone():
    log = await Log().open()
    channel = Channel(select(), 1, 2)
    await log.writers[0].write([sale(T0)])
    await log.tell(channel)
    channel.advance()
    await log.writers[0].write([sale(T0 + 25_000)])
    await log.tell(channel)
    change = channel.advance()
    assert channel.starts(change.gone) == [instant(T0)]
    assert [r["start"] for r in rows(channel)] == [instant(T0 + 20_000)]


async def test_a_window_becomes_settled_then_final_though_its_rows_did_not_change():
    log = await Log().open()
    channel = Channel(select(by=()), 1, 60)

    async def changed() -> list[str]:
        await log.tell(channel)
        return [json.loads(bytes(r))["status"] for r in channel.rows(channel.advance().cells)]

    await log.writers[0].write([sale(T0), sale(T0 + 15_000)])
    assert await changed() == ["provisional", "provisional"]
    await log.writers[1].settle(T0 + 15_000)
    assert await changed() == ["settled"]
    await log.writers[1].write([])
    assert await changed() == []
    await log.writers[1].write([sale(T0 + 16_000)])
    assert await changed() == ["final", "provisional"]
    fresh = Channel(select(by=()), 1, 60)
    fresh.load(await log.reads(fresh.selection))
    fresh.advance()
    assert rows(fresh) == rows(channel)


async def test_the_place_covers_what_is_shown_and_no_more():
    log = await Log().open()
    channel = Channel(select(), 1, 60)
    await log.writers[0].write([sale(T0), sale(T0)])
    await log.tell(channel)
    assert channel.place.next == {"0": 0, "1": 0}
    channel.advance()
    assert channel.place.next == {"0": 2, "1": 0}
    assert channel.place.watermark == instant(T0)


async def test_a_commit_that_does_not_follow_is_refused():
    log = await Log().open()
    channel = Channel(select(), 1, 60)
    await log.writers[0].write([sale(T0)])
    await log.writers[0].write([sale(T0)])
    [(_, entries)] = await log.state.feed({(NAME, 0): "0-0"}, 1)
    with pytest.raises(Disconnected):
        channel.apply(0, entries[1:])
    assert channel.apply(0, entries[:1])
    assert channel.apply(0, entries[1:])
    assert not channel.apply(0, entries[:1])


async def test_a_rolling_window_leaves_the_view_with_its_first_expired_pane() -> None:
    """Whoever followed still holds the pane, whoever comes now does not get it: both must show the same."""
    domain, state = sample_domain(partitions=1, ttl_ms=120_000), MemoryState()
    selection = Catalogue([domain]).select(metric="sales", window="rolling:1m")
    table, writer = selection.view.table.id, KpiWriter(state, domain, 0)
    await writer.open()
    followed = Channel(selection, 1, 30)
    followed.load([await state.head(NAME, 0)])
    for n in range(20):
        gone = [window_key(table, 10_000, T0 + (n - 13) * 10_000)] if n >= 13 else []
        await writer.write([sale(T0 + n * 10_000)], gone=gone)
    for _, entries in await state.feed({(NAME, 0): "0-0"}, 1):
        for entry in entries:
            followed.apply(0, [entry])
            followed.advance()
    fresh = Channel(selection, 2, 30)
    fresh.load([await state.read(NAME, 0, table, 10_000, 0, 2**53)])
    fresh.advance()
    assert rows(followed) == rows(fresh)
    assert {row["value"] for row in rows(fresh)[:8]} == {6}
