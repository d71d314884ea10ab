"""Rows per minute by footers: the same as counting the records, however the chain was cut and whenever it was read."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.errors import Fatal, Transient
from dataforge.ledger.balance import MINUTE_MS, Landed
from dataforge.ledger.landed import LandedMinutes
from dataforge.storage.chain import Chain
from dataforge.storage.landing_file import encode
from dataforge.storage.memory import MemoryStore
from dataforge.stream.records import LogRecord
from dataforge.testing.landed import PARTITION, TOPIC, footer, logs, put_chain


class CountingStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.read: Counter[str] = Counter()

    async def tail(self, key: str, size: int) -> bytes:
        data = await super().tail(key, size)
        self.read[key] += 1
        return data


class SlowStore(MemoryStore):
    """Gives way before it answers, as a store does that is asked over a network."""

    async def tail(self, key: str, size: int) -> bytes:
        await asyncio.sleep(0)
        return await super().tail(key, size)


def cut(records: list[LogRecord], at: list[int]) -> list[list[LogRecord]]:
    bounds = [0, *sorted(set(at)), len(records)]
    return [records[low:high] for low, high in pairwise(bounds) if low < high]


def by_minute(records: list[LogRecord]) -> dict[int, int]:
    return dict(Counter(r.timestamp - r.timestamp % MINUTE_MS for r in records))


@settings(max_examples=25)
@given(logs(), st.lists(st.integers(1, 39)), st.integers(1, 4))
async def test_each_footer_is_read_once_and_minutes_become_whole_step_by_step(
    records: list[LogRecord], cuts: list[int], read_back: int
):
    store, runs = CountingStore(), cut(records, [c for c in cuts if c < len(records)])
    chain = await put_chain(store, runs)
    minutes = LandedMinutes(chain, read_back=read_back)
    landed = Landed()
    for _ in runs:
        landed = await minutes.refresh(0)
        whole = {m: n for m, n in by_minute(records).items() if m >= landed.from_ms}
        assert {m: n for m, n in landed.minutes.items() if m >= landed.from_ms} == whole
        assert (landed.next, landed.newest_ms) == (records[-1].offset + 1, records[-1].timestamp)
    assert landed.from_ms == 0
    assert len(store.read) == len(runs)
    last = store.read.pop(chain.key(await chain.start_of(records[-1].offset) or 0))
    assert last == len(runs)  # once by each look: nothing follows it
    assert set(store.read.values()) <= {1}


@settings(max_examples=25)
@given(logs(), st.lists(st.integers(1, 39), min_size=1))
async def test_it_follows_a_chain_that_grows_and_knows_the_object_of_an_offset(
    records: list[LogRecord], cuts: list[int]
):
    store, runs = MemoryStore(), cut(records, [c for c in cuts if c < len(records)])
    whole = MemoryStore()
    await put_chain(whole, runs)
    minutes = LandedMinutes(Chain(store, TOPIC, PARTITION))
    assert (await minutes.refresh(0)).next == 0
    for n, (key, data) in enumerate(sorted(whole.objects.items()), 1):
        store.objects[key] = data
        landed = await minutes.refresh(0)
        done = [record for run in runs[:n] for record in run]
        assert landed.minutes == by_minute(done)
        assert {await minutes.key_of(record.offset) for record in runs[n - 1]} == {key}
        assert await minutes.key_of(landed.next) is None


async def test_a_chain_that_was_moved_away_and_begun_anew_is_read_anew():
    records = [LogRecord(n, 60_000 * n, None, b"") for n in range(4)]
    store = MemoryStore()
    minutes = LandedMinutes(await put_chain(store, [records[:2], records[2:]]))
    assert (await minutes.refresh(0)).next == 4
    store.objects.clear()
    await put_chain(store, [records[:1]])
    landed = await minutes.refresh(0)
    assert (landed.next, landed.minutes) == (1, {0: 1})


async def test_minutes_nobody_asks_for_are_not_read():
    records = [LogRecord(n, 60_000 * n, None, b"") for n in range(40)]
    store = CountingStore()
    minutes = LandedMinutes(await put_chain(store, [[r] for r in records]), read_back=4)
    landed = Landed()
    for _ in range(20):
        landed = await minutes.refresh(60_000 * 30)
    assert landed.from_ms <= 60_000 * 30
    assert len(store.read) < 20


async def test_of_a_long_chain_only_the_end_is_listed_and_read():
    class Listing(MemoryStore):
        names = 0

        async def list(self, prefix: str, start_after: str = "") -> AsyncIterator[str]:
            async for key in super().list(prefix, start_after):
                self.names += 1
                yield key

    store = Listing()
    chain = Chain(store, TOPIC, PARTITION)
    store.objects = {chain.key(n): b"never read" for n in range(19_900)}
    for n in range(19_900, 20_000):
        one = [LogRecord(n, n * 10_000, None, b"")]
        store.objects[chain.key(n)] = encode(one, footer(one, n, n + 1))
    minutes, landed = LandedMinutes(chain, read_back=40), Landed()
    for _ in range(3):
        landed = await minutes.refresh(19_950 * 10_000)
    assert landed.next == 20_000
    assert 0 < landed.from_ms <= 19_950 * 10_000
    assert await minutes.key_of(11_111) == chain.key(11_111)
    assert store.names < 5_000


async def test_a_look_that_fails_half_way_is_made_up_for_by_the_next():
    class AwayOnce(MemoryStore):
        answers = 1

        async def tail(self, key: str, size: int) -> bytes:
            self.answers -= 1
            if self.answers == -1:
                raise Transient("away", retry_after_s=0.001)
            return await super().tail(key, size)

    records = [LogRecord(n, n * MINUTE_MS, None, b"") for n in range(3)]
    minutes = LandedMinutes(await put_chain(AwayOnce(), [[record] for record in records]))
    with pytest.raises(Transient):
        await minutes.refresh(0)
    assert await minutes.refresh(0) == Landed(3, records[-1].timestamp, by_minute(records), 0)


async def test_an_object_that_was_listed_and_is_gone_is_said():
    class Gone(MemoryStore):
        async def tail(self, key: str, size: int) -> bytes:
            raise KeyError(key)

    store = Gone()
    minutes = LandedMinutes(await put_chain(store, [[LogRecord(0, 0, None, b"")]]))
    with pytest.raises(Fatal, match="is not there"):
        await minutes.refresh(0)


async def test_looks_at_the_same_time_count_each_object_once():
    records = [LogRecord(n, n * MINUTE_MS, None, b"v", []) for n in range(6)]
    chain = await put_chain(SlowStore(), cut(records, [2, 4]))
    minutes, landed = LandedMinutes(chain, read_back=1), Landed()
    for _ in range(3):
        *_, landed = await asyncio.gather(*(minutes.refresh(0) for _ in range(3)))
    assert landed.minutes == by_minute(records)
    assert [await minutes.key_of(start) for start in (0, 2, 4)] == [chain.key(start) for start in (0, 2, 4)]
