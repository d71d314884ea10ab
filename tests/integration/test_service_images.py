"""The service images: each starts, says what is wrong with its settings, and does its work beside the servers."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from aiobotocore.session import AioSession
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from testcontainers.core.container import DockerContainer

from dataforge.contracts.load import load_domains
from dataforge.contracts.model import Contract
from dataforge.state.redis import RedisState
from dataforge.stream.judged import Verdict, reason_of, unpack

from devstack import topics
from devstack.model import SERVICES, Endpoints
from devstack.paths import repo_root
from devstack.testing.containers import Containers
from devstack.testing.plugin import S3Access

pytestmark = [pytest.mark.integration, pytest.mark.core]

ADMIN_PORT = 9100
DOMAINS = "/etc/dataforge/domains"
PURCHASE = {
    "occurred_at": "2026-01-05T12:00:00Z",
    **{"household_id": 7, "store_id": 1, "basket_id": 3, "product_id": 25671, "quantity": 2, "week": 1},
    **{"sales_value": 1.5, "retail_disc": 0, "coupon_disc": 0, "coupon_match_disc": 0},
}
SENT = {
    b"not json": Verdict.UNDECODABLE,
    **{json.dumps(PURCHASE | {"event_id": f"e{n}"}).encode(): Verdict.VALID for n in range(20)},
    json.dumps(PURCHASE | {"event_id": "none", "quantity": 0}).encode(): Verdict.QUARANTINED,
}


def image_of(service: str) -> str:
    return f"dataforge/{service}:local"


@pytest.mark.parametrize("service", [spec.name for spec in SERVICES])
def test_unusable_settings_are_named_and_end_it_with_2(containers: Containers, service: str) -> None:
    with containers.beside(image_of(service)).with_env("DATAFORGE_KAFKA", "nonsense") as started:
        assert started.wait() == 2
        assert b"DATAFORGE_KAFKA: 'nonsense' is not host:port" in started.get_logs()[1]


@pytest.fixture(scope="module")
def contract() -> Contract:
    [retail] = load_domains([repo_root() / "domains" / "retail"])
    return retail.events[0].contract


@pytest.fixture(scope="module")
def services(containers: Containers, endpoints: Endpoints, contract: Contract) -> Iterator[dict[str, DockerContainer]]:
    """All five, in containers on the servers' network."""
    specs = [*topics.of_domains([str(repo_root() / "domains" / "retail")]), *topics.platform()]
    asyncio.run(topics.ensure(endpoints.kafka, specs))
    env = containers.inside.service_env([DOMAINS])
    with ExitStack() as running:
        yield {
            spec.name: running.enter_context(
                containers.beside(image_of(spec.name)).with_envs(**env).with_exposed_ports(ADMIN_PORT)
            )
            for spec in SERVICES
        }


async def ready(name: str, container: DockerContainer) -> None:
    address = f"http://127.0.0.1:{container.get_exposed_port(ADMIN_PORT)}/readyz"
    async with httpx.AsyncClient() as client:

        async def is_ready() -> bool:
            try:
                return (await client.get(address)).is_success
            except httpx.TransportError:
                return False

        await until(is_ready, {name: container})


async def until(condition: Callable[[], Awaitable[bool]], containers: Mapping[str, DockerContainer]) -> None:
    """*Raises* AssertionError with the containers' output where the condition is not true within a minute."""
    deadline = time.monotonic() + 60
    while not await condition():
        if time.monotonic() > deadline:
            output = (f"--- {name}\n{b''.join(each.get_logs()).decode()}" for name, each in containers.items())
            pytest.fail(f"{condition.__name__}: not within a minute\n" + "\n".join(output))
        await asyncio.sleep(0.1)


@pytest.fixture
async def state(redis_url: str) -> AsyncIterator[RedisState]:
    opened = RedisState(redis_url)
    yield opened
    await opened.close()


async def test_records_go_the_whole_way_through_the_images(
    services: dict[str, DockerContainer], endpoints: Endpoints, contract: Contract, state: RedisState, s3: S3Access
) -> None:
    await asyncio.gather(*(ready(name, container) for name, container in services.items()))
    async with AIOKafkaProducer(bootstrap_servers=endpoints.kafka, acks="all") as producer:
        for value in SENT:
            await producer.send_and_wait(contract.raw_topic, value, key=b"7", partition=0)

    judged = await read(endpoints.kafka, contract.judged_topic, len(SENT))
    assert {record.value: unpack(record.headers).verdict for record in judged} == SENT
    assert all(reason_of(record.headers) for record in judged if unpack(record.headers).verdict is not Verdict.VALID)

    async def counted() -> bool:
        _, position = await state.owner(contract.name, 0)
        return position == judged[-1].offset + 1

    async def in_the_store() -> bool:
        return bool(await landed(s3, f"landing/{contract.raw_topic}/0/"))

    await until(counted, services)
    await until(in_the_store, services)


async def read(kafka: str, topic: str, count: int) -> list[Any]:
    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest") as consumer:
        async with asyncio.timeout(60):
            return [await consumer.getone() for _ in range(count)]


async def landed(s3: S3Access, prefix: str) -> list[str]:
    connect: Any = AioSession().create_client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name=s3.region,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
    )
    async with connect as store:
        listed = await store.list_objects_v2(Bucket=s3.bucket, Prefix=prefix)
    return [found["Key"] for found in listed.get("Contents", [])]
