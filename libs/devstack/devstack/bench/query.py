"""The query suite: a warm query by its name over HTTP, beside DuckDB called directly, in turns; and a kept answer.

Both sides read the same Iceberg files from the same store, by the same DuckDB with the same settings.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec

from dataforge.contracts.load import load_domain
from dataforge.contracts.model import Domain
from dataforge.sql.bind import arguments, placed, places_of, shape_of
from dataforge.sql.statement import read
from dataforge.sql.tables import tables_of
from dataforge.sql.values import values_of

from devstack.bench.contest import SuiteReport
from devstack.bench.deployed import Deployed
from devstack.bench.lake_rows import written
from devstack.bench.load import Connection, connected
from devstack.bench.turns import Say
from devstack.model import Endpoints
from devstack.paths import repo_root
from devstack.ports import PortClaims
from devstack.stack import Stack
from query_api.query.duckdb_engine import Access, opened, secret
from query_api.query.duckdb_sql import translate

RETAIL = repo_root() / "domains" / "retail"
WARM, KEPT = "warm, by DuckDB called directly", "kept ms, median"
GOALS = {WARM: 1.2, KEPT: 10.0}
_PERIOD = {"since": "2017-03-01", "until": "2017-04-01"}
_ASKED: dict[str, dict[str, Any]] = {
    "top_products": {"since": "2017-01-01", "until": "2018-01-01"},
    "revenue_by_department": _PERIOD,
    "basket_sizes": _PERIOD,
    "compare_stores": {**_PERIOD, "stores": [367, 406, 429]},
}
_MEMORY = "1GB"
_WARMING, _TIMES = 3, 15
_LOOK_S = 0.05


class _Question(NamedTuple):
    name: str
    asked: dict[str, Any]
    sql: str
    """In DuckDB's words."""
    values: dict[str, Any]


async def query(*, events: int, rounds: int, seed: int, names: Sequence[str], say: Say) -> SuiteReport:
    """`events` are rows of the table. *Raises* `StackError`."""
    del seed, names
    domain = load_domain(RETAIL, queries=True)
    with (
        tempfile.TemporaryDirectory(prefix="dataforge-bench-") as folder,
        Stack.start(Path(folder), [RETAIL], services=(), servers=("s3proxy", "valkey-cache"), tied=True) as stack,
    ):
        reach, catalog = stack.endpoints(), Path(folder) / "lake" / "catalog.db"
        location = await asyncio.to_thread(written, domain.events[0], events, reach, catalog)
        questions = [_question(domain, name, asked, location) for name, asked in _ASKED.items()]
        service = _Service(catalog)
        contest = _Contest(questions, _direct(reach), rounds, say, reach.api_token)
        await service.run(msgspec.structs.replace(reach, cache_url=""), contest.warm)
        await service.run(reach, contest.kept)
    return SuiteReport("query", {}, {}, {}, {}, contest.problems, contest.figures())


class _Service:
    """query-api as it is deployed, without what queries do not need: there is no Kafka, and no state."""

    def __init__(self, catalog: Path) -> None:
        self._catalog = catalog

    async def run(self, reach: Endpoints, work: Callable[[Connection], Awaitable[None]]) -> None:
        claims = PortClaims()
        port = claims.claim({"api": 0})["api"]
        env = {
            "DATAFORGE_HOST": "127.0.0.1",
            "DATAFORGE_PORT": str(port),
            "DATAFORGE_LAKE_CATALOG": str(self._catalog),
            "DATAFORGE_QUERY_MEMORY": _MEMORY,
            "DATAFORGE_LEDGER_INTERVAL_S": "3600",
            "DATAFORGE_LOG_LEVEL": "ERROR",
        }

        async def done() -> bool:
            with suppress(ConnectionRefusedError):
                async with connected(port) as connection:
                    await work(connection)
                    return True
            await asyncio.sleep(_LOOK_S)
            return False

        try:
            await Deployed("query_api", reach).run(RETAIL, done, env)
        finally:
            claims.release()


class _Contest:
    def __init__(self, questions: Sequence[_Question], direct: Any, rounds: int, say: Say, token: str) -> None:
        self._questions, self._direct, self._times, self._say = questions, direct, rounds * _TIMES // 3, say
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._ratios: list[float] = []
        self._kept_ms: list[float] = []
        self.problems: list[str] = []

    async def warm(self, to: Connection) -> None:
        """In turns, so that what else this machine does falls on both."""
        for question in self._questions:
            ours, theirs = list[float](), list[float]()
            for turn in range(_WARMING + self._times):
                if turn % 2:  # nobody always comes second
                    body, one_s = await self._timed(to, question)
                    rows, other_s = self._timed_directly(question)
                else:
                    rows, other_s = self._timed_directly(question)
                    body, one_s = await self._timed(to, question)
                if turn >= _WARMING:
                    ours.append(one_s)
                    theirs.append(other_s)
                if len(body["rows"]) != len(rows) or body["cached"]:
                    self.problems.append(f"{question.name}: {len(body['rows'])} rows, DuckDB has {len(rows)}")
            self._ratios.append(median(ours) / median(theirs))
            self._say(
                f"{question.name}: {median(ours) * 1000:.1f} ms, DuckDB {median(theirs) * 1000:.1f} ms, "
                f"ratio {self._ratios[-1]:.3f}"
            )

    async def kept(self, to: Connection) -> None:
        for question in self._questions:
            await self._asked(to, question)
            for _ in range(10 * self._times):
                body, took_s = await self._timed(to, question)
                self._kept_ms.append(took_s * 1000)
                if not body["cached"]:
                    self.problems.append(f"{question.name}: an answer was not kept")
        self._say(f"a kept answer: {median(self._kept_ms):.2f} ms")

    def figures(self) -> dict[str, float]:
        return {WARM: round(max(self._ratios), 3), KEPT: round(median(self._kept_ms), 3)}

    async def _timed(self, to: Connection, question: _Question) -> tuple[dict[str, Any], float]:
        began_s = time.perf_counter()
        body = await self._asked(to, question)
        return body, time.perf_counter() - began_s

    def _timed_directly(self, question: _Question) -> tuple[list[Any], float]:
        began_s = time.perf_counter()
        rows = self._direct.execute(question.sql, question.values).fetchall()
        return rows, time.perf_counter() - began_s

    async def _asked(self, to: Connection, question: _Question) -> dict[str, Any]:
        asked = msgspec.json.encode({"query": question.name, "parameters": question.asked})
        return msgspec.json.decode(await to.post("/query", self._headers, asked))


def _question(domain: Domain, name: str, asked: dict[str, Any], location: str) -> _Question:
    declared = domain.queries[name]
    statement = read(declared.sql, tables_of(domain.events), declared.parameters)
    values = values_of(declared.parameters, asked)
    tree = placed(statement, shape_of(statement, declared.parameters, values, declared.max_rows))
    return _Question(name, asked, translate(tree, {"silver.purchase": location}), arguments(values, places_of(tree)))


def _direct(reach: Endpoints) -> Any:
    access = Access(f"s3://{reach.s3_bucket}/lake", reach.s3_endpoint, reach.s3_region, _MEMORY, os.cpu_count() or 1)
    db = opened(access)
    db.execute(secret(access, reach.s3_access_key, reach.s3_secret_key))
    return db
