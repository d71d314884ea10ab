"""The real servers: killed, started again, with their data, on their ports."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis.asyncio import Redis

from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.bench.workers import stored
from devstack.embedded import EmbeddedServers
from devstack.oracle.landed import Bucket
from devstack.servers.kafka import new_cluster_id

pytestmark = pytest.mark.integration
LARGE = b"x" * (8 * 1024 * 1024 - 1024)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    with EmbeddedServers(tmp_path_factory.mktemp("servers")) as running:
        yield running


def again(servers: EmbeddedServers, name: str) -> None:
    """SIGKILL and a new start; the addresses must not change."""
    pid, reach = servers.pid(name), servers.endpoints
    servers.kill(name)
    servers.start_again(name)
    assert servers.pid(name) != pid
    assert servers.endpoints == reach


async def test_kafka_keeps_acknowledged_records(servers: EmbeddedServers):
    bootstrap = servers.endpoints.kafka
    await ensure_topics(bootstrap, [TopicSpec("raw.kept.v1", 1)])
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_request_size=9 * 2**20) as producer:
        sent = await producer.send_and_wait("raw.kept.v1", LARGE, timestamp_ms=1)
    again(servers, "kafka")
    partition = TopicPartition("raw.kept.v1", 0)
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, max_partition_fetch_bytes=9 * 2**20) as consumer:
        consumer.assign([partition])
        consumer.seek(partition, sent.offset)
        record = await consumer.getone()
    assert record.value == LARGE
    assert record.timestamp > 1, "the append time, not the producer's"


def test_a_cluster_id_is_never_taken_for_an_option():
    assert not any(new_cluster_id().startswith("-") for _ in range(2_000))


async def test_kafka_creates_no_topic_by_accident(servers: EmbeddedServers):
    async with AIOKafkaConsumer(bootstrap_servers=servers.endpoints.kafka) as consumer:
        assert "raw.typo.v1" not in await consumer.topics()
        assert consumer.partitions_for_topic("raw.typo.v1") is None


async def test_valkey_keeps_acknowledged_writes_and_never_evicts(servers: EmbeddedServers):
    async with Redis.from_url(servers.endpoints.redis_url) as client:
        await client.set("kept", "1")
        assert await client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert await client.config_get("append*") | {"appendonly": "yes", "appendfsync": "everysec"} == (
            await client.config_get("append*")
        )
    again(servers, "valkey")
    async with Redis.from_url(servers.endpoints.redis_url) as client:
        assert await client.get("kept") == b"1"


async def test_the_cache_drops_what_was_not_asked_for_lately_and_starts_empty(servers: EmbeddedServers):
    assert servers.endpoints.cache_url != servers.endpoints.redis_url
    async with Redis.from_url(servers.endpoints.cache_url) as client:
        for number in range(80):
            await client.set(str(number), b"x" * 2**20)
        assert 0 < await client.dbsize() < 80
        assert await client.get("79") is not None
    again(servers, "valkey-cache")
    async with Redis.from_url(servers.endpoints.cache_url) as client:
        assert await client.dbsize() == 0


async def test_s3proxy_keeps_objects_and_lets_the_first_writer_win(servers: EmbeddedServers):
    reach = servers.endpoints
    async with Bucket.of(reach).client() as client:
        await client.put_object(Bucket=reach.s3_bucket, Key="landing/a/0/1", Body=LARGE, IfNoneMatch="*")
    again(servers, "s3proxy")
    async with Bucket.of(reach).client() as client:
        with pytest.raises(client.exceptions.ClientError, match="PreconditionFailed"):
            await client.put_object(Bucket=reach.s3_bucket, Key="landing/a/0/1", Body=b"", IfNoneMatch="*")
        found = await client.get_object(Bucket=reach.s3_bucket, Key="landing/a/0/1")
        assert await found["Body"].read() == LARGE


async def test_what_a_killed_s3proxy_left_half_written_is_gone_when_it_is_back(servers: EmbeddedServers):
    reach = servers.endpoints
    async with Bucket.of(reach).client() as client:
        await client.put_object(Bucket=reach.s3_bucket, Key="landing/b/0/1-2", Body=b"whole")
    [whole] = servers.logs.parent.rglob("landing/b/0/1-2")
    whole.with_name("1-2-3f2504e0-4f89-41d3-9a0c-0305e82c3301").write_bytes(b"ha")
    again(servers, "s3proxy")
    async with Bucket.of(reach).client() as client:
        listed = await client.list_objects_v2(Bucket=reach.s3_bucket, Prefix="landing/b/")
        assert [entry["Key"] for entry in listed["Contents"]] == ["landing/b/0/1-2"]


async def test_more_large_objects_are_read_than_a_client_has_connections(servers: EmbeddedServers):
    bucket, body = Bucket.of(servers.endpoints), b"x" * 2**20
    async with bucket.client() as client:
        for number in range(12):
            await client.put_object(Bucket=bucket.name, Key=f"many/0/{number:02d}", Body=body)
    async with asyncio.timeout(60):
        assert (await stored(bucket, "many"))[0] == [body] * 12


async def test_s3proxy_refuses_a_wrong_key(servers: EmbeddedServers):
    async with replace(Bucket.of(servers.endpoints), secret_key="wrong").client() as client:
        with pytest.raises(client.exceptions.ClientError, match="SignatureDoesNotMatch"):
            await client.list_objects_v2(Bucket=servers.endpoints.s3_bucket)


def test_logs_say_something(servers: EmbeddedServers):
    logs = servers.logs
    assert "Kafka Server started" in (logs / "kafka.log").read_text()
    assert "Ready to accept connections" in (logs / "valkey.log").read_text()
    assert "Started" in (logs / "s3proxy.log").read_text()


def test_nothing_is_left_after_stop(tmp_path: Path, watch: Any):
    left_behind, _ = watch
    with EmbeddedServers(tmp_path, ["valkey", "s3proxy"]):
        assert len(left_behind(tmp_path)) == 2
    assert left_behind(tmp_path) == []
