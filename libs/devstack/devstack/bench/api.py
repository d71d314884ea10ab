"""The api suite: `GET /metrics` over the state of counted sales, beside FastAPI that answers with the same bytes.

All ask the same, as dashboards do; `unshared` is ours where each asks something of its own.
"""

import sys
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from dataforge.kpi.instants import parse_instant
from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.bench.answers import digest
from devstack.bench.contest import OURS, Measured, SuiteReport, report
from devstack.bench.contestants import TOPIC, Aggregator
from devstack.bench.deployed import CONTESTANTS, SALES, Deployed, servers
from devstack.bench.load import ask
from devstack.bench.logs import fill
from devstack.bench.process import cost_of
from devstack.bench.sales import PARTITIONS, WINDOW_MS, Row, drawn
from devstack.bench.turns import Say, Turn, in_turns, net
from devstack.ports import PortClaims

SALES_COUNTED, WINDOWS = 200_000, 6


async def api(*, events: int, rounds: int, seed: int, names: Sequence[str], say: Say) -> SuiteReport:
    """`events` are requests. *Raises* `StackError` where one of them fails."""
    sales = drawn(SALES_COUNTED, seed)
    begin = int(sales.at[len(sales) // 2]) // WINDOW_MS * WINDOW_MS
    end = begin + WINDOWS * WINDOW_MS
    rows = [(*row[:3], row[3][:1]) for row in sales.rows() if row[0] == "category" and begin <= row[2] < end]
    path = f"/metrics?metric=revenue&by=category&window=10s&from={begin}&to={end}&limit="

    def same_path(_: int) -> str:
        return f"{path}10000"

    def another_path(number: int) -> str:
        return f"{path}{10_000 + number}"

    with servers() as (reach, folder):
        same = folder / "answer.json"
        claims = PortClaims()
        ports = claims.claim({"api": 0, "constant": 0})
        await ensure_topics(reach.kafka, [TopicSpec(TOPIC, PARTITIONS)])
        await fill(reach.kafka, TOPIC, sales.judged)
        await Aggregator(reach, folder).run(TOPIC, sales)
        server, headers = Deployed("query_api", reach), {"Authorization": f"Bearer {reach.api_token}"}

        async def asking(path_of: Callable[[int], str]) -> Measured:
            first, whole = (_Asked(ports["api"], path_of, headers, times) for times in (1, events))
            env = {"DATAFORGE_PORT": str(ports["api"])}
            start = await server.run(SALES, first.done, env)
            cost = await server.run(SALES, whole.done, env)
            same.write_bytes(whole.body)
            return net(start, cost, events - 1, digest(_rows(whole.body)), digest(rows))

        async def constant(_: int) -> Measured:
            first, whole = (_Asked(ports["constant"], same_path, headers, times) for times in (1, events))
            command = [sys.executable, str(CONTESTANTS / "constant.py"), str(ports["constant"]), str(same)]
            start = await cost_of(command, {}, first.done)
            cost = await cost_of(command, {}, whole.done)
            return net(start, cost, events - 1, digest(_rows(whole.body)), digest(rows))

        others: dict[str, Turn] = {"constant": constant, "unshared": lambda _: asking(another_path)}
        turns = {OURS: lambda _: asking(same_path)} | {name: others[name] for name in names}
        try:
            return report("api", await in_turns(turns, rounds, say))
        finally:
            claims.release()


class _Asked:
    """So many requests, once somebody listens."""

    def __init__(self, port: int, path: Callable[[int], str], headers: dict[str, str], times: int) -> None:
        self.body = b""
        self._ask: Callable[[], Awaitable[bytes]] = lambda: ask(port, path, headers, times)

    async def done(self) -> bool:
        try:
            self.body = await self._ask()
        except ConnectionError:
            return False
        return True


class _Labelled(msgspec.Struct):
    start: str
    labels: dict[str, str]
    value: int


class _Answer(msgspec.Struct):
    rows: list[_Labelled]


def _rows(body: bytes) -> list[Row]:
    answer = msgspec.json.decode(body, type=_Answer)
    return [("category", row.labels["category"], parse_instant(row.start), [row.value]) for row in answer.rows]
