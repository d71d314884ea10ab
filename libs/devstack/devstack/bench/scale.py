"""The scale suite: the stream suite's work with more processes, more keys, more windows, beside itself."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.bench.answers import digest
from devstack.bench.contest import OURS, Measured, SuiteReport, report
from devstack.bench.contestants import Aggregator
from devstack.bench.deployed import NOTHING, sales_as, servers
from devstack.bench.logs import fill
from devstack.bench.sales import PARTITIONS, Row, drawn
from devstack.bench.turns import Say, Turn, in_turns, net


@dataclass(frozen=True)
class Variant:
    processes: int = 1
    stores: int = 10
    windows: int = 60
    label_cap: int = 100_000


BASE = Variant()
VARIANTS = {
    "2_processes": Variant(processes=2),
    "4_processes": Variant(processes=4),
    "10_thousand_keys": Variant(stores=10_000),
    "1_million_keys_capped": Variant(stores=1_000_000, label_cap=1_000),
    "10_times_the_windows": Variant(windows=600),
}


async def scale(*, events: int, rounds: int, seed: int, names: Sequence[str], say: Say) -> SuiteReport:
    """Ratios are the base's speed by a variant's: 1.3 is three tenths more for an event. *Raises* `StackError`."""
    variants = {OURS: BASE} | {name: VARIANTS[name] for name in names}
    with servers() as (reach, folder):
        await ensure_topics(reach.kafka, [TopicSpec(f"judged.sales.{NOTHING}.v1", PARTITIONS)])

        async def turn_of(number: int, variant: Variant) -> Turn:
            event, topic = f"variant{number}", f"judged.sales.variant{number}.v1"
            sales = drawn(events, seed, variant.stores, variant.windows)
            await ensure_topics(reach.kafka, [TopicSpec(topic, PARTITIONS)])
            await fill(reach.kafka, topic, sales.judged)
            domain = sales_as(event, folder, variant.label_cap)
            aggregator = Aggregator(reach, folder, domain, event, variant.processes)

            async def turn(_: int) -> Measured:
                start = await aggregator.run(topic, sales.first(0))
                whole = await aggregator.run(topic, sales)
                answer, expected = digest(_totals(whole.rows)), digest(_totals(sales.rows()))
                return net(start.cost, whole.cost, events, answer, expected)

            return turn

        turns = {name: await turn_of(number, variant) for number, (name, variant) in enumerate(variants.items())}
        return report("scale", await in_turns(turns, rounds, say))


def _totals(rows: Iterable[Row]) -> Iterator[Row]:
    """By window alone: which stores have a row of their own is the cap's matter."""
    totals: dict[tuple[str, int], list[int]] = {}
    for dimension, _, start, values in rows:
        held = totals.setdefault((dimension, start), [0, 0, 0, 0])
        held[:] = [*(a + b for a, b in zip(held[:3], values[:3], strict=True)), max(held[3], values[3])]
    for (dimension, start), values in totals.items():
        yield dimension, "", start, values
