"""The chain: its end is found however long it is, it reads as one log, and what is wrong with it has a name."""

from collections.abc import AsyncIterator
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.errors import Fatal
from dataforge.storage import chain as chain_module
from dataforge.storage.chain import Chain, ChainEnd
from dataforge.storage.landing_file import decode, encode
from dataforge.storage.memory import MemoryStore
from dataforge.stream.records import LogRecord
from dataforge.testing.landed import PARTITION, TOPIC, footer, logs, put_chain

RUNS = [[LogRecord(n, n, None, b"%d" % n, []) for n in range(at, at + 3)] for at in (0, 3, 6)]


def cut(records: list[LogRecord], at: list[int]) -> list[list[LogRecord]]:
    edges = [0, *sorted({a % len(records) for a in at} - {0}), len(records)]
    return [records[a:b] for a, b in pairwise(edges)]


async def problems(chain: Chain) -> list[tuple[str, int]]:
    return [(p.kind, int(p.key.removeprefix(chain.prefix)[:20])) async for p in chain.verify()]


async def test_an_empty_chain_ends_at_zero() -> None:
    chain = Chain(MemoryStore(), TOPIC, PARTITION)
    assert await chain.end() == ChainEnd(0, None)
    assert [x async for x in chain.read(0)] == []
    assert await problems(chain) == []


@given(logs(), st.lists(st.integers(0, 100), max_size=6), st.integers(0, 5000))
async def test_a_chain_reads_as_the_log_it_was_made_of(records: list[LogRecord], at: list[int], offset: int) -> None:
    runs = cut(records, at)
    chain = await put_chain(MemoryStore(), runs)
    assert await problems(chain) == []
    end = await chain.end()
    assert end.footer is not None
    assert (end.next, end.footer.fp.offset) == (records[-1].offset + 1, records[-1].offset)
    found = [record async for _, run in chain.read(offset) for record in run]
    assert found == [r._replace(headers=list(r.headers)) for r in records if r.offset >= offset]


class CountingStore(MemoryStore):
    lists = 0

    def list(self, prefix: str, start_after: str = ""):
        self.lists += 1
        return super().list(prefix, start_after)


long_chains = st.lists(st.integers(1, 1 << 50), min_size=1, max_size=200, unique=True).map(sorted)


async def put_long(store: MemoryStore, nexts: list[int]) -> Chain:
    """Objects of one record each, which end where the numbers say."""
    chain, start = Chain(store, TOPIC, PARTITION), 0
    for following in nexts:
        run = [LogRecord(start, 0, None, b"", [])]
        await store.put_if_absent(chain.key(start), encode(run, footer(run, start, following)))
        start = following
    return chain


LOOKS = 6 + 1 + 2 * 52 + 1
"""Near where it is asked for, from the beginning, by halves, and the reading."""


@given(long_chains, st.integers(1, 20), st.data())
async def test_the_end_of_a_long_chain_is_searched_not_walked_to(
    nexts: list[int], page: int, data: st.DataObject
) -> None:
    store = CountingStore()
    chain = await put_long(store, nexts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain_module, "_LISTED_AT_ONCE", page)
        near = data.draw(st.integers(0, 6_000).map(lambda n: nexts[-1] + n) | st.integers(0, 1 << 51))
        assert (await chain.end(near)).next == nexts[-1]
    assert store.lists <= LOOKS


async def test_an_end_that_is_far_from_where_it_is_asked_for_is_found() -> None:
    chain = await put_long(MemoryStore(), list(range(5, 100_000, 700)))
    for near in (0, 3, 4, 5, 699, 1_500, 9_999, 10_004, 50_000, 99_304, 99_305, 10**12):
        assert (await chain.end(near)).next == 99_405
        assert await chain.start_of(near) == max(s for s in [0, *range(5, 99_305, 700)] if s <= near)


async def test_of_a_folder_of_objects_few_names_are_looked_at() -> None:
    class Looking(MemoryStore):
        names = 0

        async def list(self, prefix: str, start_after: str = "") -> AsyncIterator[str]:
            async for key in super().list(prefix):
                self.names += 1
                if key > start_after:
                    yield key

    store = Looking()
    chain = await put_long(store, list(range(200, 100_000, 200)))
    assert (await chain.end(99_900)).next == 99_800
    assert await chain.start_of(55_555) == 55_400
    assert store.names < 20


async def test_an_end_near_the_logs_is_found_at_once() -> None:
    store = CountingStore()
    chain = await put_long(store, list(range(500, 1_000_000, 500)))
    assert (await chain.end(999_900)).next == 999_500
    assert store.lists == 1
    assert [said.next async for said, _ in chain.read(998_700)] == [999_000, 999_500]
    assert store.lists == 3


@given(long_chains, st.integers(1, 20), st.data())
async def test_a_long_chain_is_read_from_where_it_is_asked_for(
    nexts: list[int], page: int, data: st.DataObject
) -> None:
    store = CountingStore()
    chain = await put_long(store, nexts)
    near = st.sampled_from(nexts).flatmap(lambda n: st.integers(max(n - 2, 0), n + 2))
    offset = data.draw(near | st.integers(0, nexts[-1] + 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain_module, "_LISTED_AT_ONCE", page)
        found = [said.next async for said, _ in chain.read(offset)]
    assert found == [following for following in nexts if following > offset]
    assert store.lists <= LOOKS


@pytest.mark.parametrize("name", [
    "00000000000000000009.parquet-bf9094c6-a716-4b31-b82e-0791812974c7", "_SUCCESS", "9.parquet", "sub/x.parquet",
])  # fmt: skip
async def test_names_of_others_are_no_objects_of_the_chain(name: str) -> None:
    store = MemoryStore()
    chain = await put_chain(store, RUNS)
    store.objects[chain.prefix + name] = b"PAR1 torn"
    assert (await chain.end()).next == 9
    assert await problems(chain) == []
    assert len([x async for x in chain.read(0)]) == 3


async def test_partitions_and_topics_do_not_mix() -> None:
    store = MemoryStore()
    await put_chain(store, RUNS)
    for topic, partition in [(TOPIC, 33), (TOPIC, 4), (TOPIC + "0", PARTITION)]:
        assert await Chain(store, topic, partition).end() == ChainEnd(0, None)


async def test_a_missing_object_is_a_gap() -> None:
    store = MemoryStore()
    chain = await put_chain(store, RUNS)
    del store.objects[chain.key(3)]
    assert await problems(chain) == [("gap", 6)]
    with pytest.raises(Fatal, match="ends at 3 and the next object starts at 6"):
        _ = [x async for x in chain.read(0)]
    assert len([x async for x in chain.read(6)]) == 1


async def test_a_missing_beginning_is_a_gap() -> None:
    store = MemoryStore()
    chain = await put_chain(store, RUNS)
    del store.objects[chain.key(0)]
    assert await problems(chain) == [("gap", 3)]
    with pytest.raises(Fatal, match="starts at offset 3, and 0 was asked for"):
        _ = [x async for x in chain.read(0)]


async def test_two_writers_objects_overlap() -> None:
    store = MemoryStore()
    chain = await put_chain(store, RUNS)
    run = [LogRecord(4, 4, None, b"4", [])]
    store.objects[chain.key(4)] = encode(run, footer(run, 4, 5))
    assert await problems(chain) == [("overlap", 4), ("gap", 6)]


async def test_another_value_is_noticed() -> None:
    store = MemoryStore()
    chain = await put_chain(store, RUNS)
    said, records = decode(store.objects[chain.key(3)])
    store.objects[chain.key(3)] = encode([records[0], records[1]._replace(value=b"5"), records[2]], said)
    assert await problems(chain) == [("crc", 3)]


async def test_another_topic_id_is_noticed() -> None:
    store = MemoryStore()
    chain = await put_chain(store, RUNS)
    said, records = decode(store.objects[chain.key(6)])
    store.objects[chain.key(6)] = encode(records, msgspec.structs.replace(said, topic_id="cd" * 16))
    assert await problems(chain) == [("topic_id", 6)]


async def test_a_damaged_object_is_not_read() -> None:
    store = MemoryStore()
    chain = await put_chain(store, RUNS)
    said, records = decode(store.objects[chain.key(3)])
    store.objects[chain.key(3)] = encode([records[0], records[1]._replace(value=b"5"), records[2]], said)
    with pytest.raises(Fatal, match=r"3\.parquet is damaged"):
        _ = [x async for x in chain.read(4)]
    assert len([x async for x in chain.read(6)]) == 1


async def test_an_object_under_a_wrong_key_is_noticed() -> None:
    store = MemoryStore()
    chain = await put_chain(store, RUNS)
    store.objects[chain.key(9)] = store.objects[chain.key(6)]
    assert await problems(chain) == [("footer", 9)]
    with pytest.raises(Fatal, match="from 6"):
        _ = [x async for x in chain.read(9)]


async def test_a_torn_object_is_named() -> None:
    store = MemoryStore()
    chain = await put_chain(store, RUNS)
    store.objects[chain.key(6)] = store.objects[chain.key(6)][:-20]
    assert await problems(chain) == [("unreadable", 6)]
    with pytest.raises(Fatal, match="not a landing object"):
        await chain.end()
