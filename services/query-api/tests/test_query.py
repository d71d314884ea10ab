"""POST /query over real tables: answers, errors, roles, limits, and what is kept of answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from dataforge.kpi.catalogue import Catalogue
from dataforge.state.memory import MemoryState
from dataforge.storage.s3 import S3Store

from query_api import schemas
from query_api.app import build
from query_api.query.answer import Rows
from query_api.query.ask import Asker
from query_api.query.cache import Cache, NoCache, RedisCache
from query_api.query.catalog import Lake, Located, SqliteLocations
from query_api.query.duckdb_engine import DuckDB
from query_api.query.engine import Question
from query_api.settings import ApiSettings
from shop_lake import ShopLake, drawn, duckdb_over

pytestmark = pytest.mark.integration
READER, ANALYST = "reader", "analyst"
SUM = "SELECT sum(quantity) AS units FROM silver.sale"


class Counted:
    """The real engine; counts what it runs, and may be held up."""

    name = "duckdb"

    def __init__(self, engine: DuckDB) -> None:
        self._engine, self.runs = engine, 0
        self.may = asyncio.Event()
        self.may.set()

    async def run(self, question: Question, located: Mapping[str, Located]) -> Rows:
        self.runs += 1
        await self.may.wait()
        return await self._engine.run(question, located)

    async def close(self) -> None:
        await self._engine.close()


class Service:
    """One process of query-api, so to say."""

    def __init__(self, shop: ShopLake, lake: Lake, cache: Cache, engine: Counted) -> None:
        self.engine = engine
        settings = ApiSettings(api_token=READER, analyst_token=ANALYST, fresh_ms=0)  # pyright: ignore[reportArgumentType]
        asker = Asker(Catalogue([shop.domain]), lake, engine, cache, 10_000)
        app = build(settings, [shop.domain], MemoryState(), asker=asker)
        self.api = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://api", timeout=60
        )

    async def post(self, token: str = READER, **asked: Any) -> httpx.Response:
        return await self.api.post("/query", json=asked, headers={"Authorization": f"Bearer {token}"})

    async def ask(self, **asked: Any) -> schemas.QueryAnswer:
        answer = await self.post(ANALYST if "sql" in asked else READER, **asked)
        assert answer.status_code == 200, answer.text
        return schemas.QueryAnswer.model_validate_json(answer.content)

    async def problem(self, status: int, token: str = READER, **asked: Any) -> schemas.ProblemDetail:
        answer = await self.post(token, **asked)
        assert answer.status_code == status, answer.text
        return schemas.Problem.model_validate_json(answer.content).error


@asynccontextmanager
async def serving(shop: ShopLake, store: S3Store, cache: Cache, **limits: Any) -> AsyncIterator[Service]:
    async with AsyncExitStack() as opened:
        engine = Counted(duckdb_over(shop, **limits))
        opened.push_async_callback(engine.close)
        opened.push_async_callback(cache.close)
        service = Service(shop, Lake(SqliteLocations(shop.file), {shop.s3.bucket: store}), cache, engine)
        opened.push_async_callback(service.api.aclose)
        yield service


@pytest.fixture
async def service(shop: ShopLake, store: S3Store) -> AsyncIterator[Service]:
    async with serving(shop, store, NoCache()) as found:
        yield found


def redis_cache(url: str, **options: Any) -> RedisCache:
    """One that is slow on a busy machine is not away."""
    return RedisCache(
        url, **{"ttl_s": 60, "most_bytes": 2**20, "patience_s": 30, "answer_s": 20, "lease_s": 30, **options}
    )


@pytest.fixture
async def fresh_cache(cache_url: str) -> str:
    async with Redis.from_url(cache_url) as client:
        await client.flushall()
    return cache_url


# ---- answers
async def test_a_query_by_its_name(service: Service, shop: ShopLake):
    rows = [row for row in drawn() if row["store"] in ("bar", "dot") and row["amount"] >= 100]
    found = await service.ask(query="by_store", parameters={"stores": ["bar", "dot"], "least": 100})
    expected = [
        [store, float(sum(r["amount"] for r in rows if r["store"] == store)), sum(r["store"] == store for r in rows)]
        for store in ("bar", "dot")
    ]
    assert found.rows == expected
    assert [(c.name, c.type) for c in found.columns] == [
        ("store", "varchar"), ("amount", "decimal(38,2)"), ("sales", "bigint"),
    ]  # fmt: skip
    assert (found.domain, found.query, found.truncated, found.cached) == (shop.domain.name, "by_store", False, False)
    assert list(found.snapshots) == ["silver.sale"]
    assert len((await service.ask(query="by_store")).rows) == 4, "defaults"
    assert len((await service.ask(query="by_store", limit=1)).rows) == 1


async def test_sql_of_an_analyst(service: Service):
    found = await service.ask(sql="SELECT sale, at FROM silver.sale ORDER BY at", limit=2)
    assert (found.query, found.truncated) == ("ad hoc", True)
    assert found.rows[0] == ["s-0", drawn()[0]["at"].isoformat(timespec="milliseconds").replace("+00:00", "Z")]


async def test_what_may_be_asked_is_listed(service: Service):
    answer = await service.api.get("/queries", headers={"Authorization": f"Bearer {READER}"})
    found = {query.name: query for query in schemas.QueriesAnswer.model_validate_json(answer.content).queries}
    stores = next(p for p in found["by_store"].parameters if p.name == "stores")
    assert (stores.type, stores.many, stores.required, stores.default) == ("text", True, False, [])


async def test_pages_of_other_origins_may_ask(service: Service):
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    headers["Access-Control-Request-Headers"] = "authorization,content-type"
    assert (await service.api.options("/query", headers=headers)).status_code == 200


# ---- errors
@pytest.mark.parametrize(
    ("status", "token", "asked", "code", "hint"),
    [
        (401, "nobody", {"query": "by_store"}, "unauthorized", "Bearer"),
        (403, READER, {"sql": SUM}, "forbidden", "analyst"),
        (404, READER, {"query": "by_stor"}, "unknown_query", "did you mean by_store?"),
        (404, READER, {"query": "by_store", "domain": "bank"}, "unknown_domain", "shop"),
        (404, ANALYST, {"sql": "SELECT 1 FROM bronze.sale"}, "no_lake", "dataforge lake run"),
        (422, READER, {}, "bad_parameter", "GET /queries"),
        (422, READER, {"query": "by_store", "sql": SUM}, "bad_parameter", "GET /queries"),
        (422, READER, {"query": "by_store", "paramters": {}}, "bad_parameter", ""),
        (422, READER, {"query": "by_store", "limit": 0}, "bad_parameter", ""),
        (422, READER, {"query": "by_store", "parameters": {"store": []}}, "bad_parameter", "did you mean stores?"),
        (422, READER, {"query": "by_store", "parameters": {"stores": "bar"}}, "bad_parameter", "a list"),
        (422, READER, {"query": "by_store", "parameters": {"since": "x"}}, "bad_parameter", "an instant like"),
        (422, ANALYST, {"sql": "SELECT amuont FROM silver.sale"}, "bad_query", "did you mean amount?"),
        (422, ANALYST, {"sql": "DROP TABLE silver.sale"}, "bad_query", "SELECT"),
        (422, ANALYST, {"sql": "SELECT * FROM read_csv('/etc/passwd')"}, "bad_query", "queries.md"),
        (422, ANALYST, {"sql": "SELECT quantity / 0 FROM silver.sale"}, "bad_query", ""),
        (422, ANALYST, {"sql": SUM, "parameters": {"a": 1}}, "bad_parameter", ""),
    ],
)
async def test_errors_say_what_to_do(service: Service, status: int, token: str, asked: Any, code: str, hint: str):
    found = await service.problem(status, token, **asked)
    assert found.code == code
    assert hint in found.hint


@pytest.mark.parametrize("token", ["nobody", READER])
async def test_a_body_that_no_question_needs_is_not_read(service: Service, token: str):
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 64 * 2**20:
            read += 2**16
            yield b"x" * 2**16

    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answer = await service.api.post("/query", content=endless(), headers=headers)
    assert answer.status_code == 413, answer.text
    assert "bytes" in schemas.Problem.model_validate_json(answer.content).error.message


async def test_without_an_analysts_token_nobody_sends_sql(shop: ShopLake):
    app = build(ApiSettings(fresh_ms=0), [shop.domain], MemoryState())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as api:
        assert (await api.post("/query", json={"sql": SUM})).status_code == 403


async def test_a_table_without_rows_is_no_lake_yet(own_shop: ShopLake, store: S3Store):
    async with serving(own_shop, store, NoCache()) as service:
        assert (await service.problem(404, query="by_store")).code == "no_lake"
        snapshot = own_shop.append("silver", drawn(10))
        assert (await service.ask(query="by_store")).snapshots["silver.sale"].snapshot == snapshot
        own_shop.file.rename(own_shop.file.with_suffix(".away"))
        assert (await service.problem(404, query="by_store")).code == "no_lake"


# ---- the database is closed to everything but the lake
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM read_csv('/etc/hostname')",
        "SELECT * FROM glob('/etc/*')", "COPY (SELECT 1) TO '/tmp/stolen.csv'", "ATTACH '/tmp/x.db'",
        "SET lock_configuration = false", "INSTALL spatial", "SET enable_external_access = true", "SELECT * FROM read_parquet('s3://another/x.parquet')",
        "COPY (SELECT 1) TO 's3://another/x.parquet'", "LOAD '/tmp/x.duckdb_extension'",
    ],
)  # fmt: skip
async def test_even_what_got_past_the_checks_reads_nothing_else(engine: DuckDB, sql: str):
    import duckdb

    with pytest.raises(duckdb.Error, match=r"(?i)disabled|locked|not allowed|permission"):
        await asyncio.to_thread(lambda: engine._cursor().execute(sql).fetchall())


# ---- limits
async def test_a_query_that_takes_too_long_is_ended(shop: ShopLake, store: S3Store):
    async with serving(shop, store, NoCache(), workers=1, queue=0, time_limit_s=0.5) as service:
        began_s = time.monotonic()
        assert (await service.problem(504, query="endless")).code == "too_slow"
        assert time.monotonic() - began_s < 20
        await until_free(service)


async def test_more_queries_than_may_wait_are_refused(shop: ShopLake, store: S3Store):
    async with serving(shop, store, NoCache(), workers=1, queue=1) as service:
        running = [asyncio.create_task(service.post(query="endless", parameters={"times": n + 99_999})) for n in (1, 2)]
        async with asyncio.timeout(30):
            while service.engine.runs < 2:
                await asyncio.sleep(0.01)
        refused = await service.post(query="by_store")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        assert refused.headers["retry-after"]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await until_free(service)


async def until_free(service: Service) -> None:
    """What was given up has ended: its thread takes the next one."""
    async with asyncio.timeout(30):
        while (await service.post(query="by_store")).status_code != 200:
            await asyncio.sleep(0.05)


async def test_what_runs_when_the_service_ends_is_interrupted(shop: ShopLake, store: S3Store):
    async with serving(shop, store, NoCache()) as service:
        running = asyncio.create_task(service.post(query="endless"))
        async with asyncio.timeout(30):
            while not service.engine.runs:
                await asyncio.sleep(0.01)
            await service.engine.close()
            assert (await running).status_code >= 400


# ---- what is kept
async def test_an_answer_is_kept_until_there_is_another_snapshot(own_shop: ShopLake, store: S3Store, fresh_cache: str):
    own_shop.append("silver", drawn(10))
    async with serving(own_shop, store, redis_cache(fresh_cache)) as service:
        first, second = await service.ask(query="by_store"), await service.ask(query="by_store")
        assert (first.cached, second.cached, service.engine.runs) == (False, True, 1)
        assert (first.rows, first.columns, first.snapshots) == (second.rows, second.columns, second.snapshots)
        own_shop.append("silver", drawn(20, seed=8))
        third = await service.ask(query="by_store")
        assert (third.cached, service.engine.runs) == (False, 2)
        assert sum(row[2] for row in third.rows) == 30
        others = [{"parameters": {"least": 1}}, {"parameters": {"stores": ["bar"]}}, {"limit": 3}]
        assert [(await service.ask(query="by_store", **other)).cached for other in others] == [False] * 3


async def test_an_answer_of_the_moment_and_a_large_one_are_not_kept(shop: ShopLake, store: S3Store, fresh_cache: str):
    async with serving(shop, store, redis_cache(fresh_cache, most_bytes=2_000)) as service:
        for sql in ("SELECT current_date AS day FROM silver.sale", "SELECT * FROM silver.sale"):
            assert [(await service.ask(sql=sql)).cached for _ in "12"] == [False, False]


async def test_of_fifty_in_two_processes_one_runs(shop: ShopLake, store: S3Store, fresh_cache: str):
    async with (
        serving(shop, store, redis_cache(fresh_cache)) as one,
        serving(shop, store, redis_cache(fresh_cache)) as other,
    ):
        one.engine.may.clear()
        other.engine.may.clear()
        asking = [asyncio.create_task(service.ask(query="by_store")) for service in (one, other) for _ in range(25)]
        async with asyncio.timeout(30):
            while not one.engine.runs + other.engine.runs:
                await asyncio.sleep(0.01)
        one.engine.may.set()
        other.engine.may.set()
        answers = await asyncio.gather(*asking)
        assert one.engine.runs + other.engine.runs == 1
        assert len({str(answer.rows) for answer in answers}) == 1


async def test_a_holder_that_died_holds_nobody_up_for_long(shop: ShopLake, store: S3Store, fresh_cache: str):
    cache = redis_cache(fresh_cache)
    async with serving(shop, store, cache) as service, Redis.from_url(fresh_cache) as client:
        await service.ask(query="by_store")
        [key] = await client.keys("df:query:*")
        await client.rename(key, "another")
        name = key if isinstance(key, str) else key.decode()
        await client.set(f"{name}:lock", "of one that died", px=300)
        answer = await service.ask(query="by_store")
        assert (answer.cached, service.engine.runs) == (False, 2)
        assert await client.keys("*:lock") == []


async def test_whoever_fails_holds_nobody_up(shop: ShopLake, store: S3Store, fresh_cache: str):
    async with serving(shop, store, redis_cache(fresh_cache)) as service, Redis.from_url(fresh_cache) as client:
        for _ in "12":
            assert (await service.problem(422, ANALYST, sql="SELECT quantity / 0 FROM silver.sale")).code == "bad_query"
        assert await client.keys("*") == []


async def test_a_cache_that_is_away_costs_nothing_but_the_cache(shop: ShopLake, store: S3Store):
    async with serving(shop, store, redis_cache("redis://127.0.0.1:1/0")) as service:
        assert [(await service.ask(query="by_store")).cached for _ in "12"] == [False, False]
        assert service.engine.runs == 2


async def test_when_everybody_has_left_the_query_ends(shop: ShopLake, store: S3Store, fresh_cache: str):
    async with serving(shop, store, redis_cache(fresh_cache), workers=1, queue=0) as service:
        first, second = (asyncio.create_task(service.ask(query="endless")) for _ in "12")
        async with asyncio.timeout(30):
            while not service.engine.runs:
                await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0)
        assert (await service.problem(503, query="by_store")).code == "busy", "the other one still waits for it"
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        await until_free(service)
        assert service.engine.runs >= 2
