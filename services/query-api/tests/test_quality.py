"""GET /quality/latest over reports in a store: the newest of each, nothing yet, and a store that is away."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from dataforge.errors import Transient
from dataforge.quality.report import Finding, Report, Source
from dataforge.quality.stored import store_report
from dataforge.state.memory import MemoryState
from dataforge.storage.memory import MemoryStore
from dataforge.testing.kpis import sample_domain

from query_api import schemas
from query_api.app import build
from query_api.quality import KEPT_S, Newest
from query_api.settings import ApiSettings

T0 = 1_700_000_000_000
BAD = Finding(
    name="priced", kind="range", severity="fail", status="failed", observed=0.5, least=0.9, rows=10, failed=5, why="so"
)
GOOD = msgspec.structs.replace(BAD, status="passed", observed=1.0, failed=0)
WARNED = Finding(name="same", kind="drift", severity="warn", status="failed", observed=0.3, most=0.1, rows=10)


class Watch:
    """A clock that stands still until it is told."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def report(source: Source, at_ms: int, *findings: Finding) -> Report:
    return Report(event="shop.sale.v1", source=source, at_ms=at_ms, snapshot=2**62, rows=10, findings=list(findings))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def clock() -> Watch:
    return Watch()


@pytest.fixture
async def api(store: MemoryStore, clock: Watch) -> AsyncIterator[httpx.AsyncClient]:
    app = build(ApiSettings(api_token="t"), [sample_domain()], MemoryState(), reports=Newest(store, clock))  # pyright: ignore[reportArgumentType]
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": "Bearer t"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
        yield client


async def latest(api: httpx.AsyncClient, **params: Any) -> schemas.QualityAnswer:
    answer = await api.get("/quality/latest", params=params)
    assert answer.status_code == 200, answer.text
    return schemas.QualityAnswer.model_validate_json(answer.content)


async def test_before_anything_was_looked_at_there_is_nothing(api: httpx.AsyncClient):
    found = await latest(api)
    assert (found.domain, found.passed) == ("shop", True)
    assert found.events == [schemas.EventQuality(event="shop.sale.v1", gate=None, suite=None)]


async def test_the_newest_of_each_is_told(api: httpx.AsyncClient, store: MemoryStore):
    await store_report(store, report("suite", T0 + 1, BAD, WARNED))
    await store_report(store, report("suite", T0, GOOD))
    await store_report(store, report("gate", T0 + 2, GOOD))
    found = await latest(api, domain="shop", event="sale")
    [event] = found.events
    assert event.gate is not None
    assert event.suite is not None
    assert not found.passed
    assert (event.gate.at, event.gate.failed) == ("2023-11-14T22:13:20.002Z", 0)
    assert (event.suite.failed, event.suite.snapshot, event.suite.rows) == (2, str(2**62), 10)
    first = event.suite.findings[0]
    assert (first.name, first.status, first.observed, first.at_least, first.failed) == ("priced", "failed", 0.5, 0.9, 5)


async def test_what_only_warns_breaks_nothing(api: httpx.AsyncClient, store: MemoryStore):
    await store_report(store, report("suite", T0, GOOD, WARNED))
    assert (await latest(api)).passed


async def test_an_answer_is_kept_a_little_while(api: httpx.AsyncClient, store: MemoryStore, clock: Watch):
    await store_report(store, report("suite", T0, GOOD))
    assert (await latest(api)).passed
    await store_report(store, report("suite", T0 + 1, BAD))
    assert (await latest(api)).passed
    clock.now_s = KEPT_S
    assert not (await latest(api)).passed


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"domain": "bank"}, 404, "unknown_domain"),
        ({"event": "walk"}, 404, "unknown_event"),
        ({"domian": "shop"}, 422, "bad_parameter"),
    ],
)
async def test_what_there_is_not_is_said(api: httpx.AsyncClient, params: dict[str, str], status: int, code: str):
    answer = await api.get("/quality/latest", params=params)
    assert answer.status_code == status
    assert schemas.Problem.model_validate_json(answer.content).error.code == code


async def test_it_needs_the_token(api: httpx.AsyncClient):
    assert (await api.get("/quality/latest", headers={"Authorization": ""})).status_code == 401


async def test_a_store_that_is_away_or_not_there_is_a_503():
    class Away(MemoryStore):
        def list(self, prefix: str, start_after: str = "") -> AsyncIterator[str]:
            raise Transient("the object store does not answer")

    for reports in (Newest(Away()), None):
        transport = httpx.ASGITransport(build(ApiSettings(), [sample_domain()], MemoryState(), reports=reports))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as one:
            answer = await one.get("/quality/latest")
        assert answer.status_code == 503
        assert schemas.Problem.model_validate_json(answer.content).error.code == "unavailable"
