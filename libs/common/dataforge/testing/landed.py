"""Records for tests of what is landed, and objects made of them."""

from collections.abc import Sequence

from hypothesis import strategies as st

from dataforge.storage.chain import Chain
from dataforge.storage.landing_file import Footer, describe, encode
from dataforge.storage.memory import MemoryStore
from dataforge.stream.records import LogRecord

TOPIC, PARTITION, TOPIC_ID = "raw.shop.sale.v1", 3, "ab" * 16

_payloads = st.none() | st.binary(max_size=200)
_headers = st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=8), st.binary(max_size=20)), max_size=3)


@st.composite
def logs(draw: st.DrawFn, max_size: int = 40) -> list[LogRecord]:
    """Records of a partition from offset 0 on, sparse, in order; at least one."""
    offset, timestamp, records = 0, draw(st.integers(0, 1 << 41)), []
    for _ in range(draw(st.integers(1, max_size))):
        offset += draw(st.sampled_from([0, 0, 0, 1, 5, 1000]))
        timestamp += draw(st.integers(0, 90_000))
        records.append(LogRecord(offset, timestamp, draw(_payloads), draw(_payloads), draw(_headers)))
        offset += 1
    return records


def footer(records: Sequence[LogRecord], start: int, following: int, topic_id: str = TOPIC_ID) -> Footer:
    return describe(records, topic=TOPIC, partition=PARTITION, topic_id=topic_id, start=start, following=following)


async def put_chain(store: MemoryStore, runs: Sequence[Sequence[LogRecord]]) -> Chain:
    """A clean chain with one object a run."""
    chain, start = Chain(store, TOPIC, PARTITION), 0
    for run in runs:
        following = run[-1].offset + 1
        await store.put_if_absent(chain.key(start), encode(run, footer(run, start, following)))
        start = following
    return chain
