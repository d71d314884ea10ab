"""The whole API over ASGI, with the in-memory store: answers, pages, errors, and their schemas."""

import json
from typing import Any

import httpx
import pytest

from dataforge.errors import Transient
from dataforge.kpi.plan import plan
from dataforge.runtime import metrics
from dataforge.state.memory import MemoryState
from dataforge.state.model import PartitionRead, window_key
from dataforge.testing.kpis import KpiWriter, OverlayWriter, correction, open_writers, sale, sample_domain

from asking import DOMAIN, T0, TOKEN, get, problem
from query_api import schemas
from query_api.app import build
from query_api.settings import ApiSettings


async def test_answers_are_shared_by_those_who_may_have_them(state: MemoryState, writers: list[KpiWriter]):
    settings = ApiSettings(api_token=TOKEN, fresh_ms=1_000)  # pyright: ignore[reportArgumentType]
    transport = httpx.ASGITransport(build(settings, [DOMAIN], state), raise_app_exceptions=False)
    headers, question = {"Authorization": f"Bearer {TOKEN}"}, {"metric": "sales"}
    counted = metrics.HTTP_REQUESTS.labels("GET", "/metrics", "200")
    before = counted._value.get()
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as api:
        await writers[0].write([sale(T0)])
        first = await api.get("/metrics", params=question, headers=headers)
        await writers[0].write([sale(T0)])
        assert (await api.get("/metrics", params=question, headers=headers)).content == first.content
        assert counted._value.get() == before + 2, "a shared answer is counted under its route"
        assert (await api.get("/metrics", params=question)).status_code == 401
        assert (await api.get("/metrics", params=question, headers={"Authorization": "Bearer x"})).status_code == 401
        upgrade = headers | {"Connection": "upgrade", "Upgrade": "websocket"}
        assert (await api.get("/metrics", params=question, headers=upgrade)).status_code == 426
        assert (await api.head("/metrics", params=question, headers=headers)).status_code == 405
        other = await api.get("/metrics", params=question | {"limit": 10}, headers=headers)
    assert [answer.json()["rows"][0]["value"] for answer in (first, other)] == [1, 2]


async def test_without_a_metric_it_says_what_there_is(api: httpx.AsyncClient):
    found = schemas.CatalogueAnswer.model_validate(await get(api))
    [event] = found.domains[0].events
    by_name = {metric.name: metric for metric in event.metrics}
    assert by_name["revenue"].windows == ["10s", "1m"]
    assert by_name["revenue"].by == [[], ["store"]]
    assert by_name["revenue"].rolling[0].window == "rolling:1m"
    assert by_name["revenue"].error is None
    assert by_name["customers"].error is not None
    assert found.live.url == "ws://live.example:8081"


async def test_rows_are_merged_over_partitions(api: httpx.AsyncClient, writers: list[KpiWriter]):
    await writers[0].write([sale(T0, "1", cents=250), sale(T0 + 10_000, "1")])
    await writers[1].write([sale(T0 + 1, "1", cents=5), sale(T0 + 16_000, "2")])
    found = schemas.RowsAnswer.model_validate(await get(api, metric="revenue", window="10s", by="store"))
    assert [(r.start, r.labels["store"], r.value, r.status) for r in found.rows] == [
        ("2023-11-14T22:13:00.000Z", "1", 2.55, "provisional"),
        ("2023-11-14T22:13:10.000Z", "1", 1.0, "provisional"),
        ("2023-11-14T22:13:10.000Z", "2", 1.0, "provisional"),
    ]
    assert found.watermark == "2023-11-14T22:13:10.000Z"
    assert found.partitions["1"].next == 2
    assert (found.measure, found.unit, found.error, found.next_cursor) == ("sum", "USD", None, None)


async def test_a_window_settles_without_idle_partitions_and_is_final_once_every_one_has_passed_it(
    api: httpx.AsyncClient, writers: list[KpiWriter]
):
    async def shown() -> tuple[list[str], list[bool]]:
        answer = schemas.RowsAnswer.model_validate(await get(api, metric="sales"))
        return [r.status for r in answer.rows], [answer.partitions[p].idle for p in "01"]

    await writers[0].write([sale(T0), sale(T0 + 15_000)])
    assert await shown() == (["provisional", "provisional"], [False, False])
    await writers[1].settle(T0 + 15_000)
    assert await shown() == (["settled", "provisional"], [False, True])
    await writers[1].write([sale(T0)])  # awake, and not yet where the others were: no status goes back
    assert await shown() == (["settled", "provisional"], [False, True])
    await writers[1].write([sale(T0 + 15_000)])
    assert await shown() == (["final", "provisional"], [False, False])


async def test_what_the_lake_has_corrected_is_shown_and_says_so(
    api: httpx.AsyncClient, state: MemoryState, writers: list[KpiWriter]
):
    view, name = plan(DOMAIN.events[0]).view("revenue", ("store",)), DOMAIN.events[0].contract.name
    await writers[0].write([sale(T0, "1", cents=250), sale(T0, "2", cents=100)])
    await writers[1].write([sale(T0, "1", cents=5)])
    question = {"metric": "revenue", "by": "store", "window": "10s"}
    rolling = {"metric": "revenue", "by": "store", "window": "rolling:1m", "at": T0 + 60_000}

    async def shown(**asked: Any) -> list[tuple[Any, ...]]:
        found = schemas.RowsAnswer.model_validate(await get(api, **asked))
        assert found.partitions.keys() == {"0", "1"}
        return [(r.start[14:19], r.labels["store"], r.value, r.revision, r.corrected) for r in found.rows]

    before = [("13:00", "1", 2.55, 0, False), ("13:00", "2", 1.0, 0, False)]
    assert await shown(**question) == await shown(**rolling) == before
    overlay = OverlayWriter(state)
    await overlay.open()
    await overlay.write(
        correction(name, view, 10_000, T0, ("1",), 300),
        correction(name, view, 10_000, T0, ("2",)),
        correction(name, view, 10_000, T0 - 10_000, ("3",), 7),
    )
    corrected = [("12:50", "3", 0.07, 1, True), ("13:00", "1", 3.0, 1, True)]
    assert await shown(**question) == corrected
    assert await shown(**rolling) == corrected[1:]
    assert await shown(**question, where="store:3") == corrected[:1]
    assert await shown(**question | {"window": "1m"}) == [("13:00", "1", 2.55, 0, False), ("13:00", "2", 1.0, 0, False)]
    first = await get(api, **question, limit=1)
    await overlay.write(correction(name, view, 10_000, T0, ("1",), 400, revision=2))
    [second] = (await get(api, **question, limit=1, cursor=first["next_cursor"]))["rows"]
    assert second["value"] == 3.0, "a walk shows one instant"
    assert (await shown(**question))[1] == ("13:00", "1", 4.0, 2, True)


@pytest.mark.parametrize("metric", ["customers", "amounts", "top_stores", "price", "largest"])
async def test_every_kind_of_value_has_its_schema(api: httpx.AsyncClient, writers: list[KpiWriter], metric: str):
    await writers[0].write([sale(T0, "1", "a", 300, 2), sale(T0, "2", "b", 100), sale(T0, "2", "b", 200)])
    found = schemas.RowsAnswer.model_validate(await get(api, metric=metric, window="1m"))
    expected = {
        "customers": 2,
        "amounts": {"p50": 2.0, "p95": 3.0},
        "top_stores": [
            {"item": "2", "estimate": 2, "lower": 2, "upper": 2},
            {"item": "1", "estimate": 1, "lower": 1, "upper": 1},
        ],
        "price": 1.5,
        "largest": 3.0,
    }
    assert found.model_dump()["rows"][0]["value"] == expected[metric]


@pytest.mark.parametrize("limit", [1, 2, 5, 1000])
async def test_pages_are_the_whole_without_a_gap(api: httpx.AsyncClient, writers: list[KpiWriter], limit: int):
    events = [sale(T0 + 10_000 * i, store) for i in range(4) for store in "123"]
    await writers[0].write(events)
    whole = await get(api, metric="revenue", by="store")
    rows: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await get(api, metric="revenue", by="store", limit=limit, **cursor)
        rows += answer["rows"]
        # What comes in between two pages must not move what follows.
        await writers[1].write([sale(T0 - 60_000)])
        if answer["next_cursor"] is None:
            break
        cursor = {"cursor": answer["next_cursor"]}
    assert rows == whole["rows"]
    assert len(rows) == 12


async def test_two_walks_of_one_question_do_not_mix(api: httpx.AsyncClient, writers: list[KpiWriter]):
    await writers[0].write([sale(T0), sale(T0 + 10_000)])
    first = await get(api, metric="revenue", limit=1)
    await writers[0].write([sale(T0 + 10_000)])
    second = await get(api, metric="revenue", limit=1)
    for walk in (first, second):
        page = await get(api, metric="revenue", limit=1, cursor=walk["next_cursor"])
        assert page["partitions"] == walk["partitions"]


async def test_a_cursor_fits_only_its_question(api: httpx.AsyncClient, writers: list[KpiWriter]):
    await writers[0].write([sale(T0, "1"), sale(T0, "2")])
    cursor = (await get(api, metric="revenue", by="store", limit=1))["next_cursor"]
    assert (await problem(api, 422, metric="revenue", window="1m", by="store", cursor=cursor))["code"] == "bad_cursor"
    assert (await problem(api, 422, metric="revenue", by="store", cursor="made up"))["code"] == "bad_cursor"


async def test_a_walk_goes_on_when_its_reads_are_no_longer_kept(state: MemoryState, writers: list[KpiWriter]):
    """Another replica answers the second page."""
    await writers[0].write([sale(T0, "1"), sale(T0, "2"), sale(T0 + 10_000, "1")])
    settings = ApiSettings()
    pages: list[Any] = []
    answer: dict[str, Any] = {}
    cursor: dict[str, str] = {}
    for _ in range(3):
        transport = httpx.ASGITransport(build(settings, [DOMAIN], state))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as replica:
            answer = await get(replica, metric="revenue", by="store", limit=1, **cursor)
        pages += answer["rows"]
        cursor = {"cursor": answer["next_cursor"]}
    assert [(r["start"][-10:], r["labels"]["store"]) for r in pages] == [
        ("13:00.000Z", "1"),
        ("13:00.000Z", "2"),
        ("13:10.000Z", "1"),
    ]
    assert answer["next_cursor"] is None


async def test_from_to_and_where_choose(api: httpx.AsyncClient, writers: list[KpiWriter]):
    await writers[0].write([sale(T0 + 10_000 * i, store) for i in range(4) for store in "123"])
    span = {"from_": T0 + 10_000, "to": "2023-11-14T22:13:30Z"}
    found = await get(api, metric="sales", by="store", where=["store:2", "store:3"], **span)
    assert [(r["start"][-10:-5], r["labels"]["store"]) for r in found["rows"]] == [
        ("13:10", "2"),
        ("13:10", "3"),
        ("13:20", "2"),
        ("13:20", "3"),
    ]


async def test_rolling_windows_end_where_asked(api: httpx.AsyncClient, writers: list[KpiWriter]):
    await writers[0].write([sale(T0 + 10_000 * i) for i in range(8)])
    newest = await get(api, metric="sales", window="rolling:1m")
    assert [(r["start"][-10:], r["end"][-10:], r["value"]) for r in newest["rows"]] == [("13:20.000Z", "14:20.000Z", 6)]
    earlier = await get(api, metric="sales", window="rolling:1m", at=T0 + 30_000)
    assert [r["value"] for r in earlier["rows"]] == [3]
    assert (await problem(api, 422, metric="sales", window="rolling:1m", at=str(T0 + 1)))["code"] == "bad_at"


async def test_a_page_follows_the_rolling_window_of_the_page_before(api: httpx.AsyncClient, writers: list[KpiWriter]):
    """By then there may be a newer one."""
    await writers[0].write([sale(T0 + 10_000 * i, store) for i in range(4) for store in "123"])
    question = {"metric": "sales", "by": "store", "window": "rolling:1m", "limit": 2}
    first = await get(api, **question)
    await writers[0].write([sale(T0 + 10_000 * i, "1") for i in range(4, 9)])
    second = await get(api, **question, cursor=first["next_cursor"])
    assert {row["end"] for row in first["rows"] + second["rows"]} == {first["rows"][0]["end"]}
    assert [row["labels"]["store"] for row in first["rows"] + second["rows"]] == ["1", "2", "3"]
    assert (await get(api, **question))["rows"][0]["end"] > first["rows"][0]["end"]
    assert (await problem(api, 422, **question, cursor="AAAA"))["code"] == "bad_cursor"


async def test_a_rolling_window_of_which_something_expired_is_refused():
    """Expired panes would be missing in it without a sign."""
    domain, state = sample_domain(partitions=1, ttl_ms=120_000), MemoryState()
    writer = KpiWriter(state, domain, 0)
    await writer.open()
    await writer.write([sale(T0 + 10_000 * i) for i in range(20)])
    table = plan(domain.events[0]).view("sales").table.id
    watermark = T0 + 190_000
    starts = range(T0, watermark + 1, 10_000)
    gone = [window_key(table, 10_000, start) for start in starts if start + 10_000 + 120_000 <= watermark]
    await writer.write([], gone=gone)
    transport = httpx.ASGITransport(build(ApiSettings(), [domain], state), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as api:
        answers = {
            at: (await api.get("/metrics", params={"metric": "sales", "window": "rolling:1m", "at": str(at)})).json()
            for at in range(T0 + 60_000, T0 + 210_000, 10_000)
        }
    whole = {at for at, answer in answers.items() if "rows" in answer}
    assert {answers[at]["rows"][0]["value"] for at in whole} == {6}
    assert whole == {at for at in answers if at - 50_000 + 120_000 > watermark}
    assert answers[T0 + 60_000]["error"]["code"] == "bad_at"


async def test_a_window_that_any_partition_may_have_dropped_is_not_shown():
    """Expiry follows each partition's own watermark: half a window would be a wrong number."""
    domain = sample_domain(ttl_ms=60_000)
    state = MemoryState()
    writers = await open_writers(state, domain)
    for writer in writers:
        await writer.write([sale(T0)])
    await writers[0].write([sale(T0 + 70_000)])
    transport = httpx.ASGITransport(build(ApiSettings(), [domain], state))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as api:
        found = await get(api, metric="sales", window="10s")
    assert [r["start"][-10:] for r in found["rows"]] == ["14:10.000Z"]


@pytest.mark.parametrize(
    ("status", "code", "params"),
    [
        (404, "unknown_metric", {"metric": "revenues"}),
        (404, "unknown_domain", {"metric": "revenue", "domain": "bank"}),
        (404, "unknown_domain", {"domain": "bank"}),
        (404, "unknown_event", {"metric": "revenue", "event": "refund"}),
        (422, "bad_window", {"metric": "revenue", "window": "5s"}),
        (422, "bad_window", {"metric": "customers", "window": "rolling:1m"}),
        (422, "unknown_dimension", {"metric": "revenue", "by": "city"}),
        (422, "bad_where", {"metric": "revenue", "where": "store:1"}),
        (422, "bad_where", {"metric": "revenue", "by": "store", "where": "store"}),
        (422, "bad_instant", {"metric": "revenue", "from": "yesterday"}),
        (422, "bad_instant", {"metric": "revenue", "from": "-5"}),
        (422, "bad_at", {"metric": "revenue", "at": "0"}),
        (422, "bad_at", {"metric": "sales", "window": "rolling:1m", "from": "0"}),
        (422, "bad_at", {"metric": "sales", "window": "rolling:1m", "to": "0"}),
        (422, "bad_parameter", {"metric": "revenue", "windw": "10s"}),
        (422, "bad_parameter", {"metric": "revenue", "colour": "red"}),
        (422, "bad_parameter", {"metric": "revenue", "limit": "0"}),
    ],
)
async def test_errors_have_one_shape_and_a_hint(api: httpx.AsyncClient, status: int, code: str, params: dict[str, str]):
    told = await problem(api, status, **params)
    assert told["code"] == code
    assert told["hint"]


async def test_a_misspelt_parameter_is_told_with_the_one_meant(api: httpx.AsyncClient):
    assert (await problem(api, 422, metric="revenue", wher="store:1"))["hint"] == "did you mean where?"
    answer = await api.get("/ledger", params={"domian": "retail"})
    assert answer.status_code == 422
    assert answer.json()["error"]["hint"] == "did you mean domain?"


async def test_known_metrics_are_listed_where_one_is_unknown(api: httpx.AsyncClient):
    assert "revenue" in (await problem(api, 404, metric="sale"))["hint"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer guess"}, {"Authorization": "Basic bGV0LW1lLWlu"}])
@pytest.mark.parametrize(
    "path", ["/metrics", "/ledger", "/receipts/t/0/0", "/receipts?event_id=1", "/health/pipelines"]
)
async def test_without_the_token_nothing_is_told(api: httpx.AsyncClient, path: str, headers: dict[str, str]):
    answer = await api.get(path, headers={"Authorization": ""} | headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Authorization: Bearer" in answer.json()["error"]["hint"]


async def test_an_upgrade_is_sent_to_the_gateway(api: httpx.AsyncClient):
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Authorization": ""}
    answer = await api.get("/metrics", headers=headers)
    assert answer.status_code == 426
    assert "ws://live.example:8081" in answer.json()["error"]["hint"]


async def test_unknown_paths_and_methods_have_the_same_shape(api: httpx.AsyncClient):
    for answer, code in ((await api.get("/nowhere"), "unknown_path"), (await api.post("/metrics"), "bad_method")):
        assert schemas.Problem.model_validate_json(answer.content).error.code == code


async def test_a_store_that_is_away_is_a_503():
    class Away(MemoryState):
        async def read(self, *args: Any, **kwargs: Any) -> PartitionRead:
            raise Transient("refused")

    transport = httpx.ASGITransport(build(ApiSettings(), [DOMAIN], Away()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as api:
        answer = await api.get("/metrics", params={"metric": "revenue"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert schemas.Problem.model_validate_json(answer.content).error.code == "unavailable"


async def test_the_live_page_needs_nothing_from_elsewhere(api: httpx.AsyncClient):
    answer = await api.get("/", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert "http://" not in answer.text.replace("http://www.w3.org", "")
    assert "https://" not in answer.text
    assert "'unsafe-inline'" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Security-Policy"].count("sha256-") >= 2


async def test_pages_of_allowed_origins_may_ask(api: httpx.AsyncClient):
    for origin, allowed in (
        ("http://localhost:5173", True),
        ("http://localhost.evil.example", False),
        ("https://evil.example", False),
    ):
        answer = await api.get("/metrics", headers={"Origin": origin})
        assert ("access-control-allow-origin" in answer.headers) is allowed


async def test_every_documented_example_is_of_its_schema(api: httpx.AsyncClient):
    document = (await api.get("/openapi.json")).json()
    responses = document["paths"]["/metrics"]["get"]["responses"]
    schemas.RowsAnswer.model_validate(responses["200"]["content"]["application/json"]["example"])
    for status in ("401", "404", "422", "426", "503"):
        for example in responses[status]["content"]["application/json"]["examples"].values():
            schemas.Problem.model_validate(example["value"])
    assert json.dumps(document).count("HTTPValidationError") == 0
