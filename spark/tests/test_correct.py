"""What the lake corrects: pure, and over a real Valkey by the real owner of the overlay."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pyspark.sql import SparkSession
from redis import Redis

from dataforge.contracts.model import OTHER, Domain, EventType
from dataforge.corrections import OVERLAY, TOPIC, Correction, decode, encode, key_of
from dataforge.kpi.columns import ALGEBRA, ColumnKind
from dataforge.kpi.plan import View, plan
from dataforge.kpi.query import window_rows
from dataforge.state.model import PartitionRead
from dataforge.state.redis import RedisState
from dataforge.stream.kafka_log import KafkaLog
from dataforge.stream.records import TopicPartition
from dataforge.stream.topics import TopicSpec, ensure_topics
from dataforge.testing.kpis import sample_domain
from dataforge.testing.log import MemoryLog

from aggregator.correct import known_of
from aggregator.overlay import OverlayPartition
from devstack.embedded import EmbeddedServers
from lake.correct import Due, due
from lake.jobs.agree import Agree, Compared
from lake.jobs.correct import Correct, to_kafka
from lake.judge import Agreement, Cell, Cells, Kept, Sides, agreed, stored
from lake.live import Live, live_rows
from lake.settings import LakeSettings
from oracle import SMALL as METRICS
from oracle import database, exact_windows
from orders import PARTITIONS, Sent, drawn, judged, parts
from worlds import World, count_live

TP = TopicPartition(TOPIC, 0)
MINUTE = 60_000
SHOP = sample_domain()
EVENT = SHOP.events[0]
NAME, PLAN = EVENT.contract.name, plan(EVENT)
REVENUE, SALES = (PLAN.view(metric, ("store",)) for metric in ("revenue", "sales"))
SEALED = Kept({0: 10, 1: 20}, {0: 5 * MINUTE, 1: 9 * MINUTE}, EVENT.lateness_ms, EVENT.ttl_ms)


def cell(view: View, start_ms: int = 0, store: str = "1") -> Cell:
    return Cell(view.metric.name, view.by, MINUTE, start_ms, (store,))


def gold(of: Cell, top: int) -> dict[str, Any]:
    return {**of._asdict(), "value": top / 100, "top": top, "bottom": None, "sketch": None}


def asked(
    live: Cells,
    lake: Cells,
    *,
    due_to: Cells | None = None,
    shown: Cells | None = None,
    stored_rows: Sequence[list[Any]] = (),
    over: list[Any] | None = None,
) -> Due:
    """`stored_rows`: of the first window and store 1, one a partition; `over`: what the overlay has of it."""
    label = '["1"]'
    reads = [PartitionRead(p, at, 0, 9 * MINUTE, "", "", {}) for p, at in SEALED.positions.items()]
    for p, row in enumerate(stored_rows):
        reads[p] = reads[p]._replace(windows={0: {label: row}})
    key = (REVENUE.table.id, MINUTE)
    seen = Live({key: reads}, {key: {0: {label: over}} if over else {}})
    sides = Sides(live, lake, live if shown is None else shown, live if due_to is None else due_to)
    rows = [gold(of, round(value * (100 if of.metric == "revenue" else 1))) for of, value in lake.items()]
    return due(NAME, sides, SEALED, seen, [REVENUE, SALES], rows)


def test_all_metrics_of_a_row_go_into_one_correction():
    assert REVENUE.table is SALES.table
    live, lake = {cell(REVENUE): 1.0, cell(SALES): 1}, {cell(REVENUE): 3.0, cell(SALES): 2}
    [one] = asked(live, lake, stored_rows=[[2, 0, 0], [3, 0, 0]]).corrections
    assert (one.window, one.label) == (f"{NAME}/{REVENUE.table.id}|{MINUTE}|0", ("1",))
    assert one.columns == {REVENUE.columns[0]: 300, SALES.columns[0]: 2}
    assert (one.revision, one.gone, one.watermark, one.positions) == (6, False, 5 * MINUTE, {0: 10, 1: 20})


def test_a_row_that_the_lake_has_not_is_gone():
    [one] = asked({cell(REVENUE): 1.0, cell(SALES): 1}, {}, stored_rows=[[0, 0, 0]]).corrections
    assert (one.gone, one.columns, one.revision) == (True, {}, 1)


def test_what_is_shown_right_is_not_said_again_and_what_is_stale_is():
    live, lake = {cell(REVENUE): 1.0, cell(SALES): 1}, {cell(REVENUE): 3.0, cell(SALES): 2}
    assert asked(live, lake, shown=lake, over=[4, {}]) == Due([], [])
    [one] = asked(live, lake, shown={cell(REVENUE): 2.0, cell(SALES): 2}, over=[4, {}]).corrections
    assert one.revision == 5
    [back] = asked(lake, lake, shown=live, over=[7, None]).corrections
    assert (back.revision, back.columns[REVENUE.columns[0]]) == (8, 300)


def test_what_nobody_can_explain_keeps_its_row_as_it_is_and_is_named():
    live, lake = {cell(REVENUE): 1.0, cell(SALES): 1}, {cell(REVENUE): 3.0, cell(SALES): 2}
    found = asked(live, lake, due_to={cell(REVENUE): 1.0, cell(SALES): 7})
    assert found == Due([], [cell(SALES)])


def test_a_window_that_is_open_in_a_partition_waits():
    start_ms = 4 * MINUTE
    live, lake = {cell(REVENUE, start_ms): 1.0}, {cell(REVENUE, start_ms): 3.0}
    assert asked(live, lake) == Due([], [])


def test_a_window_whose_labels_went_beyond_the_cap_is_left_as_it_is():
    live = {cell(REVENUE): 1.0, cell(REVENUE, store=OTHER): 9.0, cell(REVENUE, MINUTE): 1.0}
    lake = {cell(REVENUE): 3.0, cell(REVENUE, store="2"): 9.0, cell(REVENUE, MINUTE): 3.0}
    [one] = asked(live, lake).corrections
    assert one.start_ms == MINUTE


def test_a_sketch_is_stored_as_the_aggregator_stores_it():
    hll, view = ALGEBRA[ColumnKind.HLL], PLAN.view("customers")
    sketch = hll.store(hll.absorb(hll.held(), {"a", "b"}))
    assert stored(view, {"sketch": bytearray(sketch)}) == {view.columns[0]: sketch}


def test_what_is_sent_is_on_the_topic_in_its_order(tmp_path: Path):
    live, lake = {cell(REVENUE): 1.0}, {cell(REVENUE): 3.0}
    [first] = asked(live, lake, stored_rows=[[2, 0, 0]]).corrections
    [second] = asked(lake, {}, over=[7, {}]).corrections
    with EmbeddedServers(tmp_path, ["kafka"]) as running:
        kafka = running.endpoints.kafka

        async def round_trip() -> tuple[int, list[Correction]]:
            await ensure_topics(kafka, [TopicSpec(TOPIC, 1)])
            last, log = await to_kafka(kafka)([first, second]), KafkaLog(kafka)
            found = [decode(record.value or b"") async for some in log.read_from(TP, 0) for record in some]
            await log.close()
            return last, found

        assert asyncio.run(round_trip()) == (1, [first, second])


@pytest.fixture
def redis_url(lake_settings: LakeSettings) -> str:
    """A database of this test alone: there is one overlay for all domains."""
    url = urlsplit(lake_settings.redis_url)._replace(path="/9").geturl()
    with Redis.from_url(url) as redis:
        redis.flushdb()
    return url


class Aggregator:
    """The owner of the overlay, over a log in memory. It reads on whenever something is sent."""

    def __init__(self, redis_url: str, domain: Domain) -> None:
        self.redis_url, self.known, self.log = redis_url, known_of([domain]), MemoryLog()

    async def send(self, corrections: Sequence[Correction]) -> int:
        state = RedisState(self.redis_url)
        worker = OverlayPartition(TP, self.known, state, self.log, lambda: 0.0, lambda: 1)
        at = await worker.open()
        last = [self.log.append(TP, key_of(one), encode(one)) for one in corrections][-1]
        await worker.take(self.log.fetch(TP, at, len(corrections)))
        await state.close()
        return last


@dataclass(frozen=True)
class Watched(Agree):
    """Remembers what it compared: comparing is what takes long."""

    seen: list[list[Compared]] = field(default_factory=list)
    """Of each time, the days."""

    def compare(self, event: EventType, partitions: int) -> Iterator[Compared]:
        days: list[Compared] = []
        self.seen.append(days)
        for compared in super().compare(event, partitions):
            days.append(compared)
            yield compared


def added_up(days: Iterable[Compared]) -> Agreement:
    found = Agreement()
    for compared in days:
        found.add(agreed(compared.sides))
    return found


def shown_turnover(redis_url: str, world: World) -> dict[tuple[Any, ...], float]:
    """(by, window in ms, start, labels) -> value, as readers are shown it."""
    of_event = plan(world.event)
    views = [of_event.view("turnover", by) for by in ((), ("category",))]
    live = live_rows(redis_url, world.event, PARTITIONS, views)
    return {
        (view.by, size_ms, row.start_ms, row.labels): row.value
        for view in views
        for size_ms in view.table.windows_ms
        for row in window_rows(
            view, size_ms, live.reads[view.table.id, size_ms], world.event.lateness_ms, None,
            live.overlays[view.table.id, size_ms],
        )
    }  # fmt: skip


def oracle_turnover(sent: Sequence[Sent]) -> dict[tuple[Any, ...], float]:
    sizes = {"10s": 10_000, "1m": 60_000}
    found = exact_windows(database(sent), {"turnover": METRICS["turnover"]})
    return {
        (by, sizes[window], start, labels): top / 100
        for (_, by, window, start, labels), (top, _) in found.items()
        if window in sizes
    }


def test_what_must_differ_is_corrected_and_then_nothing_is_left(
    spark: SparkSession, lake_settings: LakeSettings, small_domain: Domain, redis_url: str, say: Callable[[str], None]
):
    """The log comes in two parts: what was corrected after the first may be wrong after the second. Every correction
    is sent twice, as two correctors at once would.
    """
    world, sent = World(spark, lake_settings, small_domain), drawn(18, 600)
    logs = [judged(part, zombie=True) for part in parts(sent)]
    agree, aggregator = Watched(spark, redis_url, say), Aggregator(redis_url, small_domain)
    heard: dict[tuple[str, str], int] = {}

    async def twice(corrections: Sequence[Correction]) -> int:
        heard.update({(one.window, one.label_text): one.revision for one in corrections})
        return max([await aggregator.send(corrections) for _ in range(2)])

    correct, after, kept, found = Correct(agree, twice, say, wait_s=0), [0] * PARTITIONS, SEALED, Agreement()
    for until in ([len(log) * 2 // 3 for log in logs], list(map(len, logs))):
        known = [log[:end] for log, end in zip(logs, until, strict=True)]
        world.land(known, 100, after=after)
        world.run()
        asyncio.run(count_live(redis_url, small_domain, known, after))
        after = until

        did = correct.run(world.event, PARTITIONS)
        assert did["sent"] == did["applied"] > 0 == did["unexplained"]
        ends = aggregator.log.end(TP)
        assert correct.run(world.event, PARTITIONS) == {"sent": 0, "applied": 0, "unexplained": 0}
        assert aggregator.log.end(TP) == ends, "said twice"

        wrong, corrected = agree.seen[-2:]
        kept = wrong[0].kept
        sealed = [
            one
            for compared in wrong
            for one in compared.sides.wrong()
            if kept.sealed(one.start_ms + one.size_ms, range(PARTITIONS))
        ]
        before, found = added_up(wrong), added_up(corrected)
        assert (found.compared, found.unexplained) == (before.compared, 0), found.first
        assert found.explained == before.explained - len(sealed), "all that is sealed, and no other"
        assert found.corrected + found.equal == before.corrected + before.equal + len(sealed)

    assert found.corrected > 20
    live, truth = shown_turnover(redis_url, world), oracle_turnover(sent)
    closed = {key for key in live.keys() | truth.keys() if kept.sealed(key[2] + key[1], range(PARTITIONS))}
    assert len(closed) > 20
    assert {key: live.get(key) for key in closed} == {key: truth.get(key) for key in closed}
    assert asyncio.run(overlay_revisions(redis_url)) == heard
    # Of a row that was corrected in both rounds, the second revision was one more than the first.
    assert aggregator.log.end(TP) > 2 * len(heard), "nothing was corrected twice"


async def overlay_revisions(redis_url: str) -> dict[tuple[str, str], int]:
    state = RedisState(redis_url)
    loaded = await state.load(*OVERLAY, 0)
    await state.close()
    return {(key, label): row[0] for key, rows in loaded.windows.items() for label, row in rows.items()}


def test_what_nobody_reads_is_said_and_a_row_that_was_falsified_is_left_alone(
    spark: SparkSession, lake_settings: LakeSettings, small_domain: Domain, redis_url: str
):
    world, sent = World(spark, lake_settings, small_domain), drawn(19, 300)
    logs = [judged(part) for part in parts(sent)]
    world.land(logs, 100)
    world.run()
    asyncio.run(count_live(redis_url, small_domain, logs))
    said: list[str] = []
    agree = Agree(spark, redis_url, said.append)

    async def unheard(corrections: Sequence[Correction]) -> int:
        return len(corrections) - 1

    did = Correct(agree, unheard, said.append, wait_s=0).run(world.event, PARTITIONS)
    assert did["sent"] > 0 == did["applied"]
    assert any("nobody has read up to" in line for line in said)

    with Redis.from_url(redis_url) as redis:
        for key in redis.scan_iter(f"df:{{{world.event.contract.name}/0}}:w:*10000|*"):
            redis.hdel(key, *redis.hkeys(key))
    aggregator = Aggregator(redis_url, small_domain)
    falsified = Correct(agree, aggregator.send, said.append, wait_s=0).run(world.event, PARTITIONS)
    assert falsified["unexplained"] > 0 < falsified["sent"] == falsified["applied"] < did["sent"]
    assert any("nobody can explain it" in line for line in said)
