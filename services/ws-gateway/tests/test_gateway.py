"""The real server on a real socket, with another library's client."""

import asyncio
import json
import socket
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from websockets.asyncio.client import connect

from dataforge.kpi.instants import instant
from dataforge.kpi.plan import plan
from dataforge.runtime import metrics
from dataforge.state.memory import MemoryState
from dataforge.testing.kpis import KpiWriter, OverlayWriter, correction, sale

from talking import DOMAIN, SUBSCRIBE, T0, TOKEN, ask, closed_with, connected, gateway, receive
from ws_gateway import traces


async def test_snapshot_then_deltas_that_say_what_they_cover(state: MemoryState, writers: list[KpiWriter]):
    await writers[0].write([sale(T0, "1", cents=250)])
    async with gateway(state) as url, connected(url) as client:
        opened = await ask(client, SUBSCRIBE)
        assert (opened["type"], opened["id"], opened["unit"]) == ("subscribed", "a", "USD")
        first = await receive(client)
        assert (first["type"], first["channel"], first["next"]) == ("snapshot", opened["channel"], {"0": 1, "1": 0})
        assert [(r["labels"], r["value"]) for r in first["rows"]] == [({"store": "1"}, 2.5)]
        await writers[1].write([sale(T0, "1", cents=50), sale(T0, "2")])
        delta = await receive(client)
        assert (delta["type"], delta["next"], delta["gone"]) == ("delta", {"0": 1, "1": 2}, [])
        assert {r["labels"]["store"]: r["value"] for r in delta["rows"]} == {"1": 3.0, "2": 1.0}
        assert delta["token"] != first["token"]


async def test_a_correction_reaches_who_is_connected_and_who_comes_back(state: MemoryState, writers: list[KpiWriter]):
    view, name = plan(DOMAIN.events[0]).view("revenue", ("store",)), DOMAIN.events[0].contract.name
    overlay = OverlayWriter(state)
    await overlay.open()
    await writers[0].write([sale(T0, "1", cents=250), sale(T0, "2")])
    async with gateway(state) as url:
        async with connected(url) as client:
            await ask(client, SUBSCRIBE)
            first = await receive(client)
            assert "corrected" not in first["rows"][0]
            await overlay.write(correction(name, view, 10_000, T0, ("1",), 300, revision=7))
            delta = await receive(client)
            assert (delta["type"], delta["next"]) == ("delta", first["next"])
            [row] = delta["rows"]
            assert (row["value"], row["revision"], row["corrected"]) == (3.0, 7, True)
        await overlay.write(correction(name, view, 10_000, T0, ("2",)))
        async with connected(url) as client:
            await ask(client, SUBSCRIBE | {"since": first["token"]})
            missed = await receive(client)
            assert (missed["type"], missed["rows"], missed["gone"]) == ("delta", [row], [row["start"]])


async def test_a_commit_that_changes_no_row_of_the_channel_still_moves_next(
    state: MemoryState, writers: list[KpiWriter]
):
    async with gateway(state) as url, connected(url) as client:
        await ask(client, SUBSCRIBE | {"where": {"store": "7"}})
        await receive(client)
        await writers[0].write([sale(T0, "1")])
        delta = await receive(client)
        assert (delta["rows"], delta["next"]["0"]) == ([], 1)


async def test_the_same_question_is_the_same_channel_for_everyone(state: MemoryState, writers: list[KpiWriter]):
    async with gateway(state) as url, connected(url) as one, connected(url) as two:
        a, b = await ask(one, SUBSCRIBE), await ask(two, SUBSCRIBE | {"id": 7})
        assert a["channel"] == b["channel"]
        await receive(one)
        await receive(two)
        await writers[0].write([sale(T0)])
        assert await receive(one) == await receive(two)


async def test_a_rolled_back_store_sends_a_new_snapshot(state: MemoryState, writers: list[KpiWriter]):
    await writers[0].write([sale(T0)])
    earlier = state.snapshot()
    async with gateway(state) as url, connected(url) as client:
        await ask(client, SUBSCRIBE)
        await receive(client)
        await writers[0].write([sale(T0, "2")])
        assert (await receive(client))["type"] == "delta"
        state.roll_back(earlier)
        again = await receive(client)
        assert again["type"] == "snapshot"
        assert [r["labels"] for r in again["rows"]] == [{"store": "1"}]


async def test_what_one_partition_takes_back_can_bring_windows_of_all_into_view_again(
    state: MemoryState, writers: list[KpiWriter]
):
    for writer in writers:
        await writer.write([sale(T0)])
    earlier = state.snapshot()
    async with gateway(state) as url, connected(url) as client:
        await ask(client, SUBSCRIBE | {"limit": 1})
        await receive(client)
        await writers[0].write([sale(T0 + 60_000)])
        assert (await receive(client))["gone"]
        state.roll_back(earlier)
        again = await receive(client)
    async with gateway(state) as url, connected(url) as client:
        await ask(client, SUBSCRIBE | {"limit": 1})
        assert again["rows"] == (await receive(client))["rows"]


async def test_since_is_answered_by_what_was_missed(state: MemoryState, writers: list[KpiWriter]):
    await writers[0].write([sale(T0, "1"), sale(T0, "2")])
    async with gateway(state) as url:
        async with connected(url) as client:
            await ask(client, SUBSCRIBE)
            token = (await receive(client))["token"]
        await writers[0].write([sale(T0, "2")])
    async with gateway(state) as url, connected(url) as client:
        await ask(client, SUBSCRIBE | {"since": token})
        missed = await receive(client)
        assert (missed["type"], missed["gone"], missed["next"]) == ("delta", [], {"0": 3, "1": 0})
        assert [(r["labels"]["store"], r["value"]) for r in missed["rows"]] == [("2", 2.0)]
        await writers[1].write([sale(T0, "3")])
        assert [r["labels"]["store"] for r in (await receive(client))["rows"]] == ["3"]


async def test_since_the_current_place_is_answered_by_an_empty_delta(state: MemoryState, writers: list[KpiWriter]):
    await writers[0].write([sale(T0, "1")])
    async with gateway(state) as url, connected(url) as other:
        await ask(other, SUBSCRIBE)
        token = (await receive(other))["token"]
        async with connected(url) as client:
            await ask(client, SUBSCRIBE | {"since": token})
            missed = await receive(client)
            assert (missed["type"], missed["rows"], missed["gone"]) == ("delta", [], [])
            assert missed["token"] == token


@pytest.mark.parametrize("change", [{"by": []}, {"window": "1m"}, {"limit": 7}, {"where": {"store": "1"}}])
async def test_a_token_of_another_subscription_is_told_to_resync(
    state: MemoryState, writers: list[KpiWriter], change: dict[str, Any]
):
    async with gateway(state) as url, connected(url) as client:
        await ask(client, SUBSCRIBE)
        token = (await receive(client))["token"]
        await ask(client, SUBSCRIBE | {"id": "b", "since": token} | change)
        resync, snapshot = await receive(client), await receive(client)
        assert (resync["type"], resync["reason"]) == ("resync", "other_subscription")
        assert snapshot["type"] == "snapshot"


async def test_silent_channels_send_heartbeats(state: MemoryState, writers: list[KpiWriter]):
    async with gateway(state, heartbeat_s=0.1) as url, connected(url) as client:
        await ask(client, SUBSCRIBE)
        await receive(client)
        beat = await receive(client)
        assert (beat["type"], beat["next"]) == ("heartbeat", {"0": 0, "1": 0})


async def test_unsubscribe_ends_the_frames(state: MemoryState, writers: list[KpiWriter]):
    async with gateway(state) as url, connected(url) as client:
        await ask(client, SUBSCRIBE)
        await receive(client)
        assert (await ask(client, {"type": "unsubscribe", "id": "a"}))["type"] == "unsubscribed"
        await writers[0].write([sale(T0)])
        assert (await ask(client, {"type": "ping", "id": 5}))["id"] == 5


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"metric": "revenues"}, "unknown_metric"),
        ({"window": "11s"}, "bad_window"),
        ({"by": ["customer"]}, "unknown_dimension"),
        ({"where": {"customer": "a"}}, "bad_where"),
        ({"domain": "bank"}, "unknown_domain"),
        ({"limit": 0}, "bad_limit"),
        ({"since": "made-up"}, "bad_token"),
        ({"by": "store"}, "bad_message"),
        ({"type": "subscript"}, "bad_message"),
    ],
)
async def test_a_question_nobody_can_answer_is_told_why(state: MemoryState, change: dict[str, Any], code: str):
    async with gateway(state) as url, connected(url) as client:
        answer = await ask(client, SUBSCRIBE | change)
        assert (answer["type"], answer["code"], answer["id"]) == ("error", code, "a")
        assert (await ask(client, SUBSCRIBE))["type"] == "subscribed"


async def test_one_subscription_per_id_and_per_channel(state: MemoryState):
    async with gateway(state) as url, connected(url) as client:
        await ask(client, SUBSCRIBE)
        await receive(client)
        assert (await ask(client, SUBSCRIBE))["code"] == "conflict"
        assert (await ask(client, SUBSCRIBE | {"id": "b"}))["code"] == "conflict"


async def test_subscriptions_and_messages_are_limited(state: MemoryState):
    async with gateway(state, max_subscriptions=1) as url, connected(url) as client:
        await ask(client, SUBSCRIBE)
        await receive(client)
        answer = await ask(client, SUBSCRIBE | {"id": "b", "window": "1m"})
        assert answer["code"] == "too_many_subscriptions"
        for _ in range(500):
            await client.send('{"type": "ping"}')
        assert await closed_with(client) == 4429


async def test_more_different_channels_than_there_may_be_are_refused(state: MemoryState):
    ledger = {"type": "subscribe_ledger", "limit": 2}
    async with gateway(state, max_channels=1) as url, connected(url) as client, connected(url) as other:
        for question, another in ((SUBSCRIBE, {"window": "1m"}), (ledger, {"limit": 3})):
            opened = await ask(client, question | {"id": 1})
            await receive(client)
            assert (await ask(other, question | {"id": 1}))["channel"] == opened["channel"]
            await receive(other)
            refused = await ask(other, question | another | {"id": 2})
            assert (refused["code"], refused["retryable"]) == ("too_many_channels", True)
            for one in (client, other):
                await ask(one, {"type": "unsubscribe", "id": 1})


async def test_the_ledger_is_a_channel_of_its_own(state: MemoryState, writers: list[KpiWriter]):
    await writers[0].write([sale(T0), sale(T0)])
    async with gateway(state) as url, connected(url) as client, connected(url) as other:
        said = await ask(client, {"type": "subscribe_ledger", "id": "l", "limit": 2})
        assert (said["type"], said["id"], said["domain"], said["limit"]) == ("subscribed_ledger", "l", "shop", 2)
        first = await receive(client)
        assert (first["type"], first["channel"], first["reset"]) == ("ledger", said["channel"], True)
        [row] = first["rows"]
        assert (row["start"], row["labels"]) == (instant(T0), {"event": "shop.sale.v1", "partition": "0"})
        assert (row["judged"], row["valid"], row["counted"], row["balanced"]) == (2, 2, 2, True)
        assert [(t["start"], t["valid"]) for t in first["totals"]] == [(None, 2), (None, 0)]
        await writers[1].write([sale(T0 + 120_000)])
        changed = await receive(client)
        assert (changed["reset"], changed["gone"]) == (False, [instant(T0)])
        assert [(r["start"], r["labels"]["partition"]) for r in changed["rows"]] == [(instant(T0 + 120_000), "1")]
        assert [t["valid"] for t in changed["totals"]] == [2, 1]
        assert (await ask(other, {"type": "subscribe_ledger", "id": 1, "limit": 2}))["channel"] == said["channel"]
        assert [r["start"] for r in (await receive(other))["rows"]] == [instant(T0 + 120_000)]
        assert (await ask(client, {"type": "unsubscribe", "id": "l"}))["type"] == "unsubscribed"
        assert (await ask(client, {"type": "subscribe_ledger", "id": 2, "domain": "bank"}))["code"] == "unknown_domain"
        assert (await ask(client, {"type": "subscribe_ledger", "id": 2, "limit": 0}))["code"] == "bad_limit"


async def test_a_client_that_does_not_read_is_conflated_then_dropped(state: MemoryState, writers: list[KpiWriter]):
    """Megabytes of changes for a client that has stopped reading; another one gets every state meanwhile."""
    stores = [f"store-{n:05d}" for n in range(3_000)]
    before, conflated = dropped(), metrics.WS_CONFLATED._value.get()
    async with gateway(state, slow_client_s=1, conflate_ms=1) as url, connected(url) as lively:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        raw.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        raw.setblocking(False)
        async with connect(url, sock=raw, max_queue=1) as lazy:
            await ask(lazy, {"type": "auth", "token": TOKEN})
            for client in (lively, lazy):
                await client.send(json.dumps(SUBSCRIBE))
            await receive(lively)
            await receive(lively)
            lazy.transport.pause_reading()
            async with asyncio.timeout(20):
                while dropped() == before:
                    await writers[0].write([sale(T0, store) for store in stores])
                    while (await receive(lively))["next"]["0"] < writers[0].next:
                        pass
            lazy.transport.resume_reading()
            assert await closed_with(lazy) == 4429
    assert metrics.WS_CONFLATED._value.get() > conflated


def dropped() -> float:
    return metrics.WS_CLOSED.labels("4429")._value.get()


async def test_a_push_of_a_traced_event_is_a_span_of_its_trace(
    state: MemoryState, writers: list[KpiWriter], monkeypatch: pytest.MonkeyPatch
):
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(traces, "_TRACER", provider.get_tracer("test"))
    async with gateway(state) as url, connected(url) as client:
        await ask(client, SUBSCRIBE)
        await receive(client)
        await writers[0].write([sale(T0)], trace=[f"00-{7:032x}-{9:016x}-01"])
        await receive(client)
    [span] = spans.get_finished_spans()
    assert (span.name, span.context and span.context.trace_id, span.parent and span.parent.span_id) == ("push", 7, 9)
