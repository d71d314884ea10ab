"""The stream suite: the aggregator as it is deployed beside others that count the same sales from the same log.

Every contestant runs alone, from its topic's first record, in rounds that take turns. What its mere start costs is
measured in each round too, over an empty topic, and taken away. One that is slow counts only the first part of the
sales, from a topic that holds no more.
"""

from collections.abc import Sequence

from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.bench.answers import digest
from devstack.bench.contest import OURS, Measured, SuiteReport, report
from devstack.bench.contestants import TOPIC, Contestant, everybody
from devstack.bench.deployed import NOTHING, servers
from devstack.bench.logs import fill
from devstack.bench.sales import PARTITIONS, drawn
from devstack.bench.turns import Say, Turn, in_turns, net

SHARES = {"bare_aiokafka": 1.0, "stock_faust": 0.05, "quix_streams": 0.05, "bytewax": 0.5, "kafka_streams": 0.5}
"""Who stands beside us, and how much of the sales they count: enough of each for some ten seconds."""

EMPTY = f"judged.sales.{NOTHING}.v1"


async def stream(*, events: int, rounds: int, seed: int, names: Sequence[str], say: Say) -> SuiteReport:
    """Beside the `names`d of `SHARES`. *Raises* `StackError` where one of them fails."""
    sales = drawn(events, seed)
    parts = {OURS: sales} | {name: sales.first(round(events * SHARES[name])) for name in names}
    topics = {name: TOPIC if len(part) == events else f"{TOPIC}.{len(part)}" for name, part in parts.items()}
    expected = {name: digest(part.rows()) for name, part in parts.items()}
    with servers() as (reach, folder):

        def turn_of(name: str, contestant: Contestant) -> Turn:
            async def turn(_: int) -> Measured:
                start = await contestant.run(EMPTY, sales.first(0))
                whole = await contestant.run(topics[name], parts[name])
                return net(start.cost, whole.cost, len(parts[name]), digest(whole.rows), expected[name])

            return turn

        contestants = everybody(reach, folder, names)
        await ensure_topics(reach.kafka, [TopicSpec(topic, PARTITIONS) for topic in {EMPTY, *topics.values()}])
        for topic, part in {topics[name]: part for name, part in parts.items()}.items():
            await fill(reach.kafka, topic, part.judged)
        turns = {name: turn_of(name, contestant) for name, contestant in contestants.items()}
        return report("stream", await in_turns(turns, rounds, say))
