"""A domain that nobody has seen before runs without a line of Python: topics, landing, outcomes, KPIs, REST, WebSocket.

Its names, types and metrics are drawn from a seed (printed; DOMAIN_SEED repeats a run); its events are produced with a
plain Kafka client; what they add up to is computed here, with decimals.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import pyarrow.fs
import pyarrow.parquet
import pytest
from aiokafka import AIOKafkaProducer

from devstack.model import Endpoints
from devstack.stack import Stack
from generated_domain import GeneratedDomain
from reading import Api, frames, live, wait_until

EVENTS = 2_000
pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def drawn() -> GeneratedDomain:
    seed = int(os.environ.get("DOMAIN_SEED", random.SystemRandom().randrange(10**6)))
    print(f"DOMAIN_SEED={seed}")  # noqa: T201 - shown when a test fails
    return GeneratedDomain.draw(seed)


@pytest.fixture(scope="module")
def events(drawn: GeneratedDomain) -> list[dict[str, Any]]:
    return drawn.events(EVENTS, now_ms=time.time_ns() // 1_000_000)


@pytest.fixture(scope="module")
def running(
    drawn: GeneratedDomain, events: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoints]:
    """A stack with that domain alone, every event produced and through: each tenth twice, and two that are broken."""
    folder = drawn.write(tmp_path_factory.mktemp("domains"))
    with Stack.start(tmp_path_factory.mktemp("stack"), [folder], tied=True) as stack:
        reach = stack.endpoints()
        sent = asyncio.run(_produce(reach.kafka, drawn, events))
        api = Api(reach)
        metric = next(iter(drawn.metrics))
        wait_until(
            lambda: sum(api.next_of(metric, "10s", domain=drawn.name).values()) == sent, "every record is in the KPIs"
        )
        yield reach


async def _produce(kafka: str, drawn: GeneratedDomain, events: Iterable[dict[str, Any]]) -> int:
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        sent = 0
        for n, event in enumerate(events):
            value = json.dumps({k: v for k, v in event.items() if k != "_at"}).encode()
            for _ in range(2 if n % 10 == 0 else 1):
                await producer.send(drawn.raw_topic, value, key=event[drawn.key_field].encode())
                sent += 1
        await producer.send(drawn.raw_topic, b"{", key=b"k")
        await producer.send(drawn.raw_topic, b"{}", key=b"k")
        await producer.flush()
    return sent + 2


def test_every_window_of_every_metric_is_right(
    running: Endpoints, drawn: GeneratedDomain, events: list[dict[str, Any]]
) -> None:
    api, found = Api(running), {}
    for metric in drawn.metrics:
        for window in ("10s", "1m"):
            for by in ("", drawn.label_field):
                for row in api.rows(metric, window, by, domain=drawn.name, since="0"):
                    start = _ms(row["start"])
                    found[metric, window, start, row["labels"].get(drawn.label_field) if by else None] = row["value"]
    expected = drawn.expected(events)
    assert found.keys() == expected.keys()
    wrong = {
        key: (found[key], value) for key, value in expected.items() if found[key] != pytest.approx(value, rel=1e-9)
    }
    assert not wrong


def test_every_record_has_one_outcome(running: Endpoints, drawn: GeneratedDomain) -> None:
    [ledger] = Api(running).get("/ledger", domain=drawn.name)["events"]
    totals = ledger["totals"]
    assert (totals["counted"], totals["duplicate"], totals["late"]) == (EVENTS, EVENTS // 10, 0)
    assert totals["undecodable"] == {"not_json": 1}
    assert totals["quarantined"] == {"missing_field": 1}


def test_every_byte_is_landed(running: Endpoints, drawn: GeneratedDomain) -> None:
    scheme, _, host = running.s3_endpoint.partition("://")
    store = pyarrow.fs.S3FileSystem(
        access_key=running.s3_access_key, secret_key=running.s3_secret_key, region=running.s3_region,
        endpoint_override=host, scheme=scheme,
    )  # fmt: skip
    folder = pyarrow.fs.FileSelector(
        f"{running.s3_bucket}/landing/{drawn.raw_topic}", recursive=True, allow_not_found=True
    )

    def rows() -> int:
        files = [info.path for info in store.get_file_info(folder) if info.path.endswith(".parquet")]
        return sum(pyarrow.parquet.ParquetFile(store.open_input_file(path)).metadata.num_rows for path in files)

    wait_until(lambda: rows() == EVENTS + EVENTS // 10 + 2, "every record is in a landing object")


def test_a_websocket_client_sees_what_the_api_says(running: Endpoints, drawn: GeneratedDomain) -> None:
    metric = next(iter(drawn.metrics))
    said = {row["start"]: row["value"] for row in Api(running).rows(metric, "1m", domain=drawn.name, since="0")}
    with live(running) as client:
        client.send(json.dumps({"type": "subscribe", "id": 1, "domain": drawn.name, "metric": metric, "window": "1m"}))
        snapshot = next(frame for frame in frames(client) if frame["type"] == "snapshot")
    seen = {row["start"]: row["value"] for row in snapshot["rows"]}
    assert seen
    assert seen.items() <= said.items()
    assert sum(snapshot["next"].values()) == EVENTS + EVENTS // 10 + 2


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
