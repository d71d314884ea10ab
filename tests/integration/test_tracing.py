"""One event's trace, walked through every service: from the replayer's send to the push over WebSocket."""

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from dataforge.testing.otlp import OtlpReceiver, ReceivedSpan

from devstack.latency import watching
from devstack.stack import Stack

RETAIL = Path(__file__).parents[2] / "domains" / "retail"
WAY = {
    "replayer": "send raw.retail.purchase.v1",
    "landing-worker": "land",
    "quality-worker": "judge",
    "aggregator": "aggregate",
    "ws-gateway": "push",
}

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def whole(spans: Sequence[ReceivedSpan]) -> list[str]:
    """Ids of the traces that went all the way."""
    seen: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for span in spans:
        seen[span.trace_id].add((span.service, span.name))
    return [trace_id for trace_id, names in seen.items() if names >= set(WAY.items())]


async def test_a_trace_goes_through_every_service(tmp_path: Path) -> None:
    async with OtlpReceiver() as receiver:
        env = {"DATAFORGE_OTLP_ENDPOINT": receiver.endpoint}
        stack = await asyncio.to_thread(Stack.start, tmp_path, [RETAIL], env=env)
        try:
            reach = stack.endpoints()
            async with watching(reach.ws_url, reach.api_token, metric="revenue"):
                # A process of its own, as OpenTelemetry has one provider a process, and this one has other tests.
                replaying = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "devstack", "replay", "--events", "200", "--rate", "100"),
                    *("--trace", "10%", "--data", str(tmp_path)),
                    env=os.environ | env,
                )
                assert await replaying.wait() == 0
                await receiver.wait_for(lambda spans: bool(whole(spans)), deadline_s=60)
        finally:
            await asyncio.to_thread(stack.stop)
    spans = {
        (span.service, span.name): span
        for span in receiver.trace(whole(receiver.spans)[0])
        # judged records are landed too; here it is the raw one that matters
        if span.name != "land" or span.attributes["messaging.destination.name"].startswith("raw.")
    }
    ids = {span.span_id: service for (service, _), span in spans.items()}

    def parent(service: str) -> str:
        return ids.get(spans[service, WAY[service]].parent_id, "")

    assert [parent(s) for s in WAY] == ["", "replayer", "replayer", "quality-worker", "aggregator"]
    batches = {span.span_id: span for span in receiver.spans if "messaging.batch.message_count" in span.attributes}
    judged = spans["quality-worker", "judge"]
    [(_, batch_id)] = judged.links
    assert (judged.trace_id, spans["replayer", WAY["replayer"]].span_id) in batches[batch_id].links
