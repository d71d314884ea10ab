"""Athena's and Glue's protocols, against moto's: what is sent, waited for, fetched and stopped. It runs no SQL."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import aioboto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from dataforge.contracts.model import Parameter
from dataforge.sql.bind import shape_of
from dataforge.sql.statement import read
from dataforge.sql.tables import Table, tables_of
from dataforge.testing.kpis import sample_domain

from query_api.query.answer import SnapshotInfo
from query_api.query.athena_engine import Athena
from query_api.query.athena_sql import Sent
from query_api.query.catalog import GlueLocations, Located
from query_api.query.engine import Question
from query_api.query.problems import QueryProblem

pytestmark = pytest.mark.integration
TABLES = tables_of(sample_domain().events)
REGION, ACCOUNT = "eu-central-1", "123456789012"
STORE = Parameter("store", "text")
SQL = "SELECT store, sum(amount) AS amount, max(df_time) AS at FROM silver.sale WHERE store = :store GROUP BY store"
_COLUMNS = [("store", "varchar", 0, 0), ("amount", "decimal", 38, 2), ("at", "timestamp with time zone", 3, 0)]
_ROWS = [["a", "1.50", "2026-01-05 10:00:00.000 UTC"], ["b", None, None], ["c", "3.00", None]]


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as env:
        env.delenv("AWS_PROFILE", raising=False)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            env.setenv(name, "testing")
        yield f"http://{host.replace('0.0.0.0', '127.0.0.1')}:{port}"  # noqa: S104
    server.stop()


@pytest.fixture(autouse=True)
async def empty(aws: str) -> None:
    async with httpx.AsyncClient() as client:
        (await client.post(f"{aws}/moto-api/reset")).raise_for_status()


@pytest.fixture
async def athena(aws: str) -> AsyncIterator[Any]:
    client: Any = aioboto3.Session(region_name=REGION).client("athena", endpoint_url=aws)
    async with client as found:
        yield found


async def queued(aws: str, rows: list[list[str | None]]) -> None:
    """What the next query will answer."""
    names = [name for name, *_ in _COLUMNS]
    lines = [{"Data": [{"VarCharValue": text} if text is not None else {} for text in row]} for row in [names, *rows]]
    told = [{"Name": n, "Type": kind, "Precision": p, "Scale": s} for n, kind, p, s in _COLUMNS]
    body = {"account_id": ACCOUNT, "region": REGION, "results": [{"rows": lines, "column_info": told}]}
    async with httpx.AsyncClient() as client:
        (await client.post(f"{aws}/moto-api/static/athena/query-results", json=body)).raise_for_status()


def engine(aws: str, *, most: int = 4, time_limit_s: float = 30.0) -> Athena:
    output = "s3://results/here"
    return Athena(REGION, workgroup="primary", output=output, endpoint=aws, most=most, time_limit_s=time_limit_s)


def asked(max_rows: int = 10) -> tuple[Question, dict[str, Located]]:
    declared, values = {"store": STORE}, {"store": "it's"}
    statement = read(SQL, TABLES, declared)
    located = {n: Located(table, "s3://b/m.json", SnapshotInfo("1", "")) for n, table in statement.tables.items()}
    shape = shape_of(statement, declared, values, max_rows)
    return Question("key", statement, declared, values, shape, max_rows), located


async def test_rows_have_the_values_that_athenas_texts_say(aws: str, athena: Any):
    await queued(aws, _ROWS)
    found = await engine(aws).run(*asked())
    assert [(c.name, c.type) for c in found.columns] == [
        ("store", "varchar"), ("amount", "decimal(38,2)"), ("at", "timestamp with time zone"),
    ]  # fmt: skip
    assert [list(row) for row in found.rows] == [
        ["a", Decimal("1.50"), "2026-01-05T10:00:00.000Z"], ["b", None, None], ["c", Decimal("3.00"), None],
    ]  # fmt: skip
    assert not found.truncated
    [id_] = (await athena.list_query_executions())["QueryExecutionIds"]
    told = (await athena.get_query_execution(QueryExecutionId=id_))["QueryExecution"]
    assert '"shop"."silver_sale_v1"' in told["Query"]
    assert "CAST(? AS VARCHAR)" in told["Query"]
    assert told["ExecutionParameters"] == ["'it''s'"]
    assert told["WorkGroup"] == "primary"


async def test_more_rows_than_asked_for_are_cut(aws: str):
    await queued(aws, _ROWS)
    found = await engine(aws).run(*asked(2))
    assert (len(found.rows), found.truncated) == (2, True)


@pytest.fixture
async def endless(aws: str) -> AsyncIterator[None]:
    """Queries run until they are stopped."""
    model = {"model_name": "athena::execution"}
    slow = model | {"transition": {"progression": "manual", "times": 10_000}}
    async with httpx.AsyncClient(base_url=f"{aws}/moto-api/state-manager") as client:
        (await client.post("/set-transition", json=slow)).raise_for_status()
        yield
        (await client.post("/unset-transition", json=model)).raise_for_status()


@pytest.mark.usefixtures("endless")
async def test_a_query_that_nobody_waits_for_any_more_is_stopped(aws: str, athena: Any):
    with pytest.raises(QueryProblem, match="took longer") as caught:
        await engine(aws, time_limit_s=1.0).run(*asked())
    assert caught.value.code == "too_slow"
    waiting = asyncio.create_task(engine(aws).run(*asked()))
    async with asyncio.timeout(20):
        while len(ids := (await athena.list_query_executions())["QueryExecutionIds"]) < 2:
            await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    for id_ in ids:
        told = await athena.get_query_execution(QueryExecutionId=id_)
        assert told["QueryExecution"]["Status"]["State"] == "CANCELLED"


class _SlowToStart:
    """The client, whose answer to a start comes after the query has begun."""

    def __init__(self, athena: Any) -> None:
        self._athena, self.begun = athena, asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._athena, name)

    async def start_query_execution(self, **asked: Any) -> Any:
        answer = await self._athena.start_query_execution(**asked)
        self.begun.set()
        await asyncio.sleep(0.1)
        return answer


@pytest.mark.usefixtures("endless")
async def test_a_query_that_is_given_up_while_it_starts_is_stopped_too(aws: str, athena: Any):
    slow = _SlowToStart(athena)
    waiting = asyncio.create_task(engine(aws)._answer(slow, Sent("SELECT 1", [], {}), [], 10))
    await slow.begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    [id_] = (await athena.list_query_executions())["QueryExecutionIds"]
    told = await athena.get_query_execution(QueryExecutionId=id_)
    assert told["QueryExecution"]["Status"]["State"] == "CANCELLED"


async def test_no_more_run_than_may(aws: str):
    with pytest.raises(QueryProblem) as caught:
        await engine(aws, most=0).run(*asked())
    assert caught.value.code == "busy"


async def test_an_athena_that_is_away_is_said_to_be():
    with pytest.raises(QueryProblem) as caught:
        await engine("http://127.0.0.1:1").run(*asked())
    assert caught.value.code == "unavailable"


async def test_glue_says_where_tables_are(aws: str):
    here, missing = TABLES["silver.sale"], Table("gold", "shop", "gold_sale_v1", {})
    client: Any = aioboto3.Session(region_name=REGION).client("glue", endpoint_url=aws)
    async with client as glue:
        await glue.create_database(DatabaseInput={"Name": "shop"})
        table = {"Name": here.name, "Parameters": {"metadata_location": "s3://b/lake/1.json"}}
        await glue.create_table(DatabaseName="shop", TableInput=table)
    assert await GlueLocations(REGION, aws).of([here, missing]) == {here: "s3://b/lake/1.json"}
