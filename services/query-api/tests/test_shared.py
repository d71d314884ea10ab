"""Who shares an answer with whom."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from query_api.shared import Shared

FRESH_S = 30.0


class Answering:
    """Counts what it is asked; answers once it may."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = 200
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self, request: Request) -> PlainTextResponse:
        self.asked += 1
        number = self.asked
        await self.may.wait()
        return PlainTextResponse(f"{number} {request.url.query}", self.status)


@pytest.fixture
def answering() -> Answering:
    return Answering()


def client(answering: Answering, fresh_s: float = FRESH_S) -> httpx.AsyncClient:
    app = Starlette(routes=[Route(path, answering.__call__, methods=["GET", "POST"]) for path in ("/shared", "/other")])
    transport = httpx.ASGITransport(Shared(app, paths={"/shared"}, fresh_s=fresh_s))
    return httpx.AsyncClient(transport=transport, base_url="http://api")


@pytest.fixture
async def api(answering: Answering) -> AsyncIterator[httpx.AsyncClient]:
    async with client(answering) as found:
        yield found


async def test_who_asks_the_same_shares_one_answer(api: httpx.AsyncClient, answering: Answering):
    answering.may.clear()
    asking = [asyncio.create_task(api.get("/shared?a=1")) for _ in range(5)]
    while not answering.asked:
        await asyncio.sleep(0)
    answering.may.set()
    answers = [await one for one in asking] + [await api.get("/shared?a=1")]
    assert {answer.text for answer in answers} == {"1 a=1"}
    assert {answer.headers["content-type"] for answer in answers} == {"text/plain; charset=utf-8"}


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/shared?a=2", {}),
        ("GET", "/shared?a=1", {"Authorization": "Bearer other"}),
        ("GET", "/shared?a=1", {"Upgrade": "websocket"}),
        ("POST", "/shared?a=1", {}),
        ("GET", "/other?a=1", {}),
    ],
)
async def test_who_asks_otherwise_does_not(
    api: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], answering: Answering
):
    await api.get("/shared?a=1")
    answer = await api.request(method, path, headers=headers)
    assert answer.text.startswith("2 ")


async def test_a_refusal_is_nobody_elses(api: httpx.AsyncClient, answering: Answering):
    answering.status = 503
    assert (await api.get("/shared")).status_code == 503
    answering.status = 200
    assert (await api.get("/shared")).text == "2 "


async def asked_together(api: httpx.AsyncClient, answering: Answering, times: int) -> list[httpx.Response]:
    answering.may.clear()
    asking = [asyncio.create_task(api.get("/shared")) for _ in range(times)]
    while not answering.asked:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    answering.may.set()
    return list(await asyncio.gather(*asking))


async def test_whoever_waits_for_a_refusal_is_refused_with_it(api: httpx.AsyncClient, answering: Answering):
    answering.status = 503
    assert {answer.status_code for answer in await asked_together(api, answering, 5)} == {503}
    assert answering.asked == 1, "a store that is away is not asked by each of them"


async def test_two_headers_of_credentials_are_not_the_last_of_them(api: httpx.AsyncClient, answering: Answering):
    await api.get("/shared", headers=[("Authorization", "Bearer good"), ("Authorization", "Bearer bad")])
    assert (await api.get("/shared", headers={"Authorization": "Bearer bad"})).text == "2 "


async def test_nobody_waits_for_another_ones_connection(answering: Answering):
    shared = Shared(Starlette(routes=[Route("/shared", answering.__call__)]), paths={"/shared"}, fresh_s=FRESH_S)
    scope = {"type": "http", "method": "GET", "path": "/shared", "query_string": b"", "headers": [], "scheme": "http"}

    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    stuck = asyncio.create_task(shared(dict(scope), never, never))
    while not answering.asked:
        await asyncio.sleep(0)
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(shared), base_url="http://api") as api,
        asyncio.timeout(5),
    ):
        assert (await api.get("/shared")).text == "1 "
    stuck.cancel()


async def test_an_answer_that_was_cancelled_is_made_again(api: httpx.AsyncClient, answering: Answering):
    answering.may.clear()
    first = asyncio.create_task(api.get("/shared"))
    while not answering.asked:
        await asyncio.sleep(0)
    second = asyncio.create_task(api.get("/shared"))
    for _ in range(5):
        await asyncio.sleep(0)
    first.cancel()
    answering.may.set()
    assert (await second).text == "2 "


async def test_headers_of_one_client_are_not_anothers(answering: Answering):
    app = Starlette(routes=[Route("/shared", answering.__call__)])
    shared = CORSMiddleware(Shared(app, paths={"/shared"}, fresh_s=FRESH_S), allow_origins=["http://a", "http://b"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(shared), base_url="http://api") as api:
        origins = ["http://a", "http://b", None]
        answers = [await api.get("/shared", headers={"Origin": origin} if origin else {}) for origin in origins]
    assert [answer.text for answer in answers] == ["1 "] * 3
    assert [answer.headers.get("access-control-allow-origin") for answer in answers] == origins
    assert [answer.headers.get_list("vary") for answer in answers] == [["Origin"]] * 3


async def test_an_old_answer_is_nobodys(answering: Answering):
    async with client(answering, fresh_s=0.0) as api:
        assert [(await api.get("/shared")).text for _ in range(2)] == ["1 ", "2 "]
