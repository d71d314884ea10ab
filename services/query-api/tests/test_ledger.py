"""`GET /ledger` and `GET /health/pipelines` over ASGI, with the in-memory stores."""

import httpx

from dataforge.ledger.observe import Observer
from dataforge.ledger.watch import LedgerWatch
from dataforge.state.memory import MemoryState
from dataforge.storage.chain import Chain
from dataforge.storage.landing_file import describe, encode
from dataforge.storage.memory import MemoryStore
from dataforge.stream.records import LogRecord
from dataforge.testing.kpis import KpiWriter, sale

from asking import DOMAIN, T0, get
from query_api import schemas
from query_api.app import build
from query_api.settings import ApiSettings


async def test_the_ledger_adds_up(api: httpx.AsyncClient, writers: list[KpiWriter]):
    await writers[0].write([sale(T0), sale(T0)])
    await writers[1].write([sale(T0 + 60_000)])
    found = schemas.LedgerAnswer.model_validate(await get(api, "/ledger"))
    assert (found.totals.received, found.totals.counted, found.totals.balanced) == (3, 3, True)
    assert (found.balanced, found.away, found.totals.landed) == (True, [], None)
    [event] = found.events
    assert [p.totals.received for p in event.partitions] == [2, 1]
    assert event.partitions[1].minutes[0].minute == "2023-11-14T22:14:00.000Z"


async def test_the_ledger_is_asked_for_minutes_and_an_event(api: httpx.AsyncClient, writers: list[KpiWriter]):
    for minute in range(3):
        await writers[0].write([sale(T0 + 60_000 * minute)])
    span = {"since": "2023-11-14T22:14:30Z", "until": str(T0 + 120_000)}
    found = schemas.LedgerAnswer.model_validate(await get(api, "/ledger", event="sale", **span))
    assert [m.minute for m in found.events[0].partitions[0].minutes] == ["2023-11-14T22:14:00.000Z"]
    assert found.totals.received == 1
    assert schemas.LedgerAnswer.model_validate(await get(api, "/ledger", since="5m")).totals.received == 0
    for params, code in (({"event": "walk"}, "unknown_event"), ({"since": "yesterday"}, "bad_parameter")):
        answer = await api.get("/ledger", params=params)
        assert schemas.Problem.model_validate_json(answer.content).error.code == code


async def test_a_ledger_that_stays_unbalanced_says_so_everywhere(state: MemoryState, writers: list[KpiWriter]):
    now_s = 0.0
    await writers[0].write([sale(T0), sale(T0)])
    store = MemoryStore()
    topic = DOMAIN.events[0].contract.raw_topic
    records = [LogRecord(offset, T0, None, b"") for offset in range(3)]
    footer = describe(records, topic=topic, partition=0, topic_id="", start=0, following=3)
    await store.put_if_absent(Chain(store, topic, 0).key(0), encode(records, footer))
    await writers[0].write([sale(T0 + 60_000)])
    observer = Observer(state, store, None)
    watch = LedgerWatch(observer, [DOMAIN], clock=lambda: now_s)
    transport = httpx.ASGITransport(build(ApiSettings(), [DOMAIN], state, observer, watch))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as api:
        await watch.look()
        now_s = 61.0
        await watch.look()
        found = schemas.LedgerAnswer.model_validate(await get(api, "/ledger"))
        [pipeline] = schemas.PipelinesAnswer.model_validate(await get(api, "/health/pipelines")).pipelines
    text = "of 2023-11-14T22:13:00.000Z, 3 records are landed and 2 have an outcome"
    assert (found.balanced, found.totals.balanced, found.totals.received) == (False, False, 4)
    assert [p.problem for p in found.events[0].problems] == [
        text,
        text.replace("13:00", "14:00").replace("3 r", "0 r").replace("2 h", "1 h"),
    ]
    assert pipeline.problems == found.events[0].problems
    assert text in str(watch.summary())


async def test_pipelines_say_how_far_they_are(api: httpx.AsyncClient, writers: list[KpiWriter]):
    await writers[0].write([sale(T0)])
    [found] = schemas.PipelinesAnswer.model_validate(await get(api, "/health/pipelines")).pipelines
    assert found.watermark == "2023-11-14T22:13:00.000Z"
    assert found.lag_s is not None
    assert [(p.next, p.watermark is None) for p in found.partitions] == [(1, False), (0, True)]
