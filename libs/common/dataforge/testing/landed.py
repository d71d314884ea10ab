"""Records for tests of what is landed, and objects made of them."""

from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from dataforge.storage.chain import Chain
from dataforge.storage.landing_file import Footer, describe, encode
from dataforge.storage.memory import MemoryStore
from dataforge.stream.judged import Acceptance
from dataforge.stream.origin import Mark
from dataforge.stream.records import LogRecord, TopicPartition
from dataforge.testing.log import MemoryLog

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


async def land_log(store: MemoryStore, log: MemoryLog, tp: TopicPartition, *, size: int = 4) -> Chain:
    """What `log` holds beyond the chain's end, as objects of at most `size` records; of judged topics, the fold too."""
    chain = Chain(store, *tp)
    end = await chain.end()
    before = end.footer
    for batch in log.batches(tp, end.next, size):
        if not batch.records:
            break
        said = describe(
            batch.records, topic=tp.topic, partition=tp.partition, topic_id=log.id_of(tp.topic).hex(),
            start=batch.start, following=batch.next,
        )  # fmt: skip
        if tp.topic.startswith("judged."):
            acceptance = Acceptance((before and before.accepted_next) or 0)
            last_src = before.last_src if before else None
            for _, stamp in acceptance.accepted(batch.records):
                last_src = Mark(stamp.src, stamp.ts, stamp.crc)
            said = msgspec.structs.replace(said, accepted_next=acceptance.next, last_src=last_src)
        await store.put_if_absent(chain.key(batch.start), encode(batch.records, said))
        before = said
    return chain
