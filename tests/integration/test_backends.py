"""What every test builds on, proven on whichever backend serves it: Kafka, Redis and S3 as the design needs them."""

import asyncio
import time
from typing import Any

import pytest
from aiobotocore.session import AioSession
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError
from botocore.exceptions import ClientError
from redis.asyncio import Redis

from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.model import Endpoints
from devstack.testing.plugin import Fresh, S3Access

pytestmark = [pytest.mark.integration, pytest.mark.core]

LONG_AGO_MS = 1_000_000
WRITERS = 16
LIBRARY = """#!lua name={name}
redis.register_function('{name}_put', function(keys, args)
  redis.call('HSET', keys[1], args[1], args[2])
  return redis.call('HGET', keys[1], args[1])
end)
"""


async def test_kafka_gives_back_what_it_took_under_its_own_time(kafka: str, fresh: Fresh) -> None:
    topic = fresh("backend")
    await ensure_topics(kafka, [TopicSpec(topic, 2)])
    before_ms = time.time_ns() // 1_000_000
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True) as producer:
        sent = await producer.send_and_wait(
            topic, b"\x00\xff", b"k", partition=1, timestamp_ms=LONG_AGO_MS, headers=[("h", b"\x01")]
        )
    async with AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed") as consumer:
        consumer.assign([TopicPartition(topic, 1)])
        consumer.seek(TopicPartition(topic, 1), 0)
        got = await asyncio.wait_for(consumer.getone(), timeout=20)
    assert (got.offset, got.key, got.value, got.headers) == (sent.offset, b"k", b"\x00\xff", (("h", b"\x01"),))
    assert got.timestamp_type == 1, "1 is LogAppendTime"
    assert abs(got.timestamp - before_ms) < 60_000


async def test_kafka_makes_no_topic_by_accident(kafka: str, fresh: Fresh) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka, request_timeout_ms=500) as producer:
        with pytest.raises(UnknownTopicOrPartitionError):
            await producer.partitions_for(fresh("never-made"))


async def test_redis_runs_functions_and_never_evicts(redis_url: str, fresh: Fresh) -> None:
    name = fresh("lib").replace("-", "_")
    async with Redis.from_url(redis_url) as redis:
        assert await redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert await redis.config_get("appendonly") == {"appendonly": "yes"}
        await redis.function_load(LIBRARY.format(name=name))
        try:
            assert await redis.fcall(f"{name}_put", 1, name, "field", "value") == b"value"
            assert await redis.hget(name, "field") == b"value"
        finally:
            await redis.function_delete(name)
            await redis.delete(name)


async def test_of_racing_writers_the_store_lets_one_through(s3: S3Access, fresh: Fresh) -> None:
    """DESIGN R5 stands on this: `If-None-Match: *` gives 412 to all but one."""
    key = f"{fresh('race')}/object"
    connect: Any = AioSession().create_client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name=s3.region,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
    )
    async with connect as store:

        async def write(number: int) -> int:
            body = bytes([number]) * 100_000
            try:
                done = await store.put_object(Bucket=s3.bucket, Key=key, Body=body, IfNoneMatch="*")
            except ClientError as error:
                return error.response["ResponseMetadata"]["HTTPStatusCode"]
            return done["ResponseMetadata"]["HTTPStatusCode"]

        codes = await asyncio.gather(*map(write, range(WRITERS)))
        assert sorted(codes) == [200] + [412] * (WRITERS - 1)
        winner = codes.index(200)
        body = await (await store.get_object(Bucket=s3.bucket, Key=key))["Body"].read()
        assert body == bytes([winner]) * 100_000


def test_endpoints_are_those_of_the_single_fixtures(
    endpoints: Endpoints, kafka: str, redis_url: str, s3: S3Access
) -> None:
    env = endpoints.service_env(["domains/retail"])
    assert (env["DATAFORGE_KAFKA"], env["DATAFORGE_REDIS_URL"]) == (kafka, redis_url)
    assert (env["DATAFORGE_S3_ENDPOINT"], env["AWS_SECRET_ACCESS_KEY"]) == (s3.endpoint, s3.secret_key)
