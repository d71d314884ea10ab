"""One suite for every state store: what `StateReader` and `StateWriter` promise (docs/specs/state.md)."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from dataforge.errors import Superseded
from dataforge.state.memory import MemoryState
from dataforge.state.model import Commit, FeedEntry, Settlement, window_key
from dataforge.state.redis import RedisState
from dataforge.state.store import TooMany

encode = msgspec.msgpack.encode
Store = MemoryState | RedisState


@pytest.fixture(params=["memory", pytest.param("redis", marks=[pytest.mark.integration, pytest.mark.core])])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryState()
        return
    redis = RedisState(request.getfixturevalue("redis_url"))
    yield redis
    await redis.close()


@pytest.fixture
def name() -> str:
    return f"test.{uuid4().hex}.v1"


def payload(**fields: Any) -> bytes:
    return encode({"next": 0, "watermark": 0, "position": 0, "rows": {}, "gone": [], "trace": []} | fields)


def step(previous: int, position: int, claim: str = "one", **fields: Any) -> Commit:
    meta = {"next": str(position * 2), "watermark": str(position * 10)}
    return Commit(claim, previous, position, meta, **{"feed": (payload(position=position),), **fields})


def window(start: int, rows: dict[str, list[Any]], size: int = 10) -> dict[str, Any]:
    key = window_key("t", size, start)
    return {"windows": {key: {label: encode(row) for label, row in rows.items()}}, "ends": {key: start + size}}


async def feed_of(store: Store, name: str, after: str = "0-0") -> list[FeedEntry]:
    found = await store.feed({(name, 0): after}, block_ms=20)
    return [entry for named, entries in found for entry in entries if named == (name, 0)]


async def test_an_unknown_partition_reads_as_empty(store: Store, name: str) -> None:
    read = await store.read(name, 0, "t", 10, 0, 100)
    assert (read.position, read.next, read.watermark, read.feed, read.claim) == (0, 0, 0, "", "")
    assert not read.windows
    assert await feed_of(store, name) == []
    assert await store.ledger(name, 0) == {}
    assert not (await store.load(name, 0, 0)).windows


async def test_a_commit_shows_rows_positions_and_feed_together(store: Store, name: str) -> None:
    await store.claim(name, 0, "one")
    await store.commit(
        name, 0, step(0, 5, **window(20, {'["a"]': [0, 7, b"\x00\xff"]}), ledger={60: encode({"valid": 1})})
    )
    read = await store.read(name, 0, "t", 10, 0, 100)
    assert (read.position, read.next, read.watermark) == (5, 10, 50)
    assert read.windows == {20: {'["a"]': [0, 7, b"\x00\xff"]}}
    [entry] = await feed_of(store, name)
    assert entry.cursor == read.cursor == "5-0 one"
    assert entry.at == 0
    assert await store.ledger(name, 0) == {60: {"valid": 1}}
    assert await store.owner(name, 0) == ("one", 5)


async def test_a_read_of_more_windows_than_may_be_is_refused(store: Store, name: str) -> None:
    await store.claim(name, 0, "one")
    for n in range(4):
        await store.commit(name, 0, step(n, n + 1, **window(10 * n, {"[]": [0, n]})))
    assert set((await store.read(name, 0, "t", 10, 0, 40, 4)).windows) == {0, 10, 20, 30}
    assert set((await store.read(name, 0, "t", 10, 10, 40, 3)).windows) == {10, 20, 30}
    with pytest.raises(TooMany, match="more than 3"):
        await store.read(name, 0, "t", 10, 0, 40, 3)
    with pytest.raises(TooMany):  # of whatever table: they are looked through
        await store.read(name, 0, "another", 10, 0, 40, 3)


async def test_a_commit_under_another_claim_is_refused_and_changes_nothing(store: Store, name: str) -> None:
    await store.claim(name, 0, "one")
    await store.commit(name, 0, step(0, 5))
    await store.claim(name, 0, "two")
    before = await store.head(name, 0)
    with pytest.raises(Superseded):
        await store.commit(name, 0, step(5, 9, **window(20, {"[]": [0, 1]})))
    assert await store.head(name, 0) == before
    assert not (await store.read(name, 0, "t", 10, 0, 100)).windows


@pytest.mark.parametrize("previous", [0, 4, 6])
async def test_a_commit_from_another_position_is_refused(store: Store, name: str, previous: int) -> None:
    await store.claim(name, 0, "one")
    await store.commit(name, 0, step(0, 5))
    with pytest.raises(Superseded):
        await store.commit(name, 0, step(previous, 9))
    assert await store.owner(name, 0) == ("one", 5)


async def test_repeating_a_commit_is_refused_not_doubled(store: Store, name: str) -> None:
    await store.claim(name, 0, "one")
    commit = step(0, 5, **window(20, {"[]": [0, 1]}))
    await store.commit(name, 0, commit)
    with pytest.raises(Superseded):
        await store.commit(name, 0, commit)
    assert len(await feed_of(store, name)) == 1


async def test_feed_entries_form_a_chain_of_whole_commits(store: Store, name: str) -> None:
    await store.claim(name, 0, "one")
    await store.commit(name, 0, step(0, 5, feed=(payload(), payload())))
    await store.claim(name, 0, "two")
    await store.commit(name, 0, step(5, 6, "two", feed=(payload(at=1_234),)))
    entries = await feed_of(store, name)
    assert [(e.prev, e.cursor, e.last) for e in entries] == [
        ("", "5-0 one", False),
        ("5-0 one", "5-1 one", True),
        ("5-1 one", "6-0 two", True),
    ]
    assert [e.at for e in entries] == [0, 0, 1_234]
    assert await feed_of(store, name, "5-1") == entries[2:]


async def test_a_settlement_raises_the_floor_and_is_told_in_the_feed(store: Store, name: str) -> None:
    await store.claim(name, 0, "one")
    await store.commit(name, 0, step(0, 5))
    for floor in (60, 90, 90, 70, 50):  # the watermark is 50; what is not higher says nothing, and is no error
        await store.settle(name, 0, Settlement("one", 5, floor, payload(position=5)))
    head = await store.head(name, 0)
    assert (head.watermark, head.floor, head.cursor) == (50, 90, "5-90 one")
    assert (await store.load(name, 0, 0)).meta["floor"] == "90"
    await store.commit(name, 0, step(5, 6))
    assert (await store.head(name, 0)).floor == 90
    entries = await feed_of(store, name)
    assert [(e.prev, e.cursor, e.last, e.floor) for e in entries] == [
        ("", "5-0 one", True, 0),
        ("5-0 one", "5-60 one", True, 60),
        ("5-60 one", "5-90 one", True, 90),
        ("5-90 one", "6-0 one", True, 90),
    ]


@pytest.mark.parametrize(("claim", "position"), [("two", 5), ("one", 4), ("one", 6)])
async def test_a_settlement_of_another_claim_or_position_is_refused(
    store: Store, name: str, claim: str, position: int
) -> None:
    await store.claim(name, 0, "one")
    await store.commit(name, 0, step(0, 5))
    with pytest.raises(Superseded):
        await store.settle(name, 0, Settlement(claim, position, 90, payload()))
    assert (await store.head(name, 0)).floor == 0


async def test_a_partition_without_a_record_can_be_settled(store: Store, name: str) -> None:
    await store.claim(name, 0, "one")
    await store.settle(name, 0, Settlement("one", 0, 90, payload()))
    head = await store.head(name, 0)
    assert (head.position, head.watermark, head.floor, head.cursor) == (0, 0, 90, "0-90 one")
    await store.commit(name, 0, step(0, 5))
    assert [e.prev for e in await feed_of(store, name)] == ["", "0-90 one"]


async def test_watermarks_are_those_of_the_partitions_asked_for(store: Store, name: str) -> None:
    await store.claim(name, 1, "one")
    await store.commit(name, 1, step(0, 5))
    assert await store.watermarks(name, [0, 1]) == [0, 50]
    assert await store.watermarks(name, []) == []


async def test_a_stretch_of_the_feed_comes_in_pages(store: Store, name: str) -> None:
    await store.claim(name, 0, "one")
    count = 450
    for n in range(count):
        await store.commit(name, 0, step(n, n + 1, feed=(payload(next=n), payload(next=n))))
    entries = await feed_of(store, name)
    while entries[-1].id != f"{count}-1":
        entries += await feed_of(store, name, entries[-1].id)

    async def stretch(after: str, up_to: str) -> list[FeedEntry]:
        found: list[FeedEntry] = []
        while page := await store.feed_range(name, 0, found[-1].id if found else after, up_to):
            found += page
        return found

    assert await stretch("", f"{count}-1") == await stretch("0-0", f"{count + 9}-0") == entries
    assert await stretch("3-0", "7-0") == [
        e for e in entries if e.id == "3-1" or (e.id[0] in "456" and e.id[1] == "-")
    ] + [e for e in entries if e.id == "7-0"]
    assert await stretch("7-0", "7-0") == await stretch("", "") == await stretch(f"{count}-1", f"{count}-1") == []


async def test_rows_merge_into_a_window_and_gone_windows_vanish(store: Store, name: str) -> None:
    await store.claim(name, 0, "one")
    await store.commit(name, 0, step(0, 1, **window(20, {"a": [0, 1], "b": [0, 1]})))
    await store.commit(name, 0, step(1, 2, **window(20, {"b": [0, 2]})))
    await store.commit(name, 0, step(2, 3, **window(30, {"a": [0, 3]})))
    read = await store.read(name, 0, "t", 10, 0, 100)
    assert read.windows == {20: {"a": [0, 1], "b": [0, 2]}, 30: {"a": [0, 3]}}
    await store.commit(name, 0, step(3, 4, gone=(window_key("t", 10, 20),)))
    assert set((await store.read(name, 0, "t", 10, 0, 100)).windows) == {30}


async def test_a_read_takes_only_its_table_size_and_range(store: Store, name: str) -> None:
    await store.claim(name, 0, "one")
    for n, start in enumerate((10, 20, 30)):
        await store.commit(name, 0, step(n, n + 1, **window(start, {"a": [0, start]})))
    await store.commit(name, 0, step(3, 4, **window(20, {"a": [0, 99]}, size=20)))
    assert set((await store.read(name, 0, "t", 10, 20, 30)).windows) == {20}
    assert set((await store.read(name, 0, "t", 10, 11, 31)).windows) == {20, 30}
    assert (await store.read(name, 0, "t", 20, 0, 100)).windows == {20: {"a": [0, 99]}}
    assert not (await store.read(name, 0, "other", 10, 0, 100)).windows


async def test_a_load_holds_open_windows_ids_and_ledger(store: Store, name: str) -> None:
    await store.claim(name, 0, "one")
    await store.commit(name, 0, step(0, 1, **window(0, {"a": [0, 1]}), ids={"60:1": encode(["x", "y"])}))
    await store.commit(name, 0, step(1, 2, **window(20, {"a": [0, 2]}), ids={"120:2": encode(["z"])}))
    loaded = await store.load(name, 0, lateness_ms=5)
    assert loaded.meta["position"] == "2"
    assert loaded.windows == {window_key("t", 10, 20): {"a": [0, 2]}}
    assert loaded.expiries == {window_key("t", 10, 0): 10, window_key("t", 10, 20): 30}
    assert loaded.ids == {"60:1": ["x", "y"], "120:2": ["z"]}
    await store.commit(name, 0, step(2, 3, ids_gone=("60:1",)))
    assert (await store.load(name, 0, lateness_ms=5)).ids == {"120:2": ["z"]}


async def test_more_rows_than_luas_argument_limit_fit_in_one_commit(store: Store, name: str) -> None:
    await store.claim(name, 0, "one")
    rows: dict[str, list[Any]] = {str(n): [0, n] for n in range(20_000)}
    await store.commit(name, 0, step(0, 1, **window(20, rows)))
    assert (await store.read(name, 0, "t", 10, 0, 100)).windows[20] == rows
