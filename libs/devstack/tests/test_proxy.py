"""The proxies under each condition: before an echo, and before a real Valkey and a real Kafka."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from dataforge.stream.topics import TopicSpec, ensure_topics

from devstack.chaos.fault import Stage
from devstack.chaos.faults.network import Disturbed
from devstack.chaos.proxies import Proxies, Proxy
from devstack.chaos.proxy.conditions import Answer, BlackHole, Cut, Delay, Refuse, Throttle
from devstack.errors import StackError
from devstack.model import Endpoints, State, write
from devstack.paths import StackPaths
from devstack.stack import Stack

pytestmark = pytest.mark.integration


def publish(paths: StackPaths, **ports: int) -> None:
    paths.data.mkdir(exist_ok=True)
    write(paths.state, State("ready", 1, None, Endpoints(), (), ports, [], []))


@asynccontextmanager
async def before(paths: StackPaths, port: int) -> AsyncIterator[Proxy]:
    publish(paths, server=port)
    async with Proxies(paths, seed=1, upstreams={"echo": "server"}) as proxies:
        yield proxies["echo"]


@asynccontextmanager
async def echo(answer: Callable[[bytes], bytes] = bytes) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(answer(data))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    async with echo() as port, before(StackPaths(tmp_path), port) as proxy:
        yield proxy


class Client:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.reader.readexactly(len(data))

    async def is_reset(self) -> bool:
        try:
            self.writer.write(b"x")
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield Client(reader, writer)
    writer.close()


async def test_without_a_condition_bytes_pass_unchanged(proxy: Proxy):
    data = os.urandom(3 * 2**20)
    async with client(proxy) as one:
        assert await one.ask(data) == data


async def test_drop_resets_every_open_connection_and_new_ones_pass(proxy: Proxy):
    async with client(proxy) as one, client(proxy) as two:
        assert (await one.ask(b"a"), await two.ask(b"b")) == (b"a", b"b")
        assert await proxy.drop_all() == 2
        assert await one.is_reset()
        assert await two.is_reset()
    async with client(proxy) as three:
        assert await three.ask(b"c") == b"c"


async def is_refused(proxy: Proxy) -> bool:
    """On a busy machine the reset comes before whoever connects has looked."""
    try:
        async with client(proxy) as one:
            return await one.is_reset()
    except ConnectionResetError:
        return True


async def test_refused_are_new_connections_only(proxy: Proxy):
    async with client(proxy) as one:
        assert await one.ask(b"a") == b"a"
        number = await proxy.impose(Refuse())
        assert await is_refused(proxy)
        assert await one.ask(b"b") == b"b"
    assert await proxy.lift(number) == {"refused": 1}
    async with client(proxy) as three:
        assert await three.ask(b"c") == b"c"


async def test_a_black_hole_answers_nothing_and_delivers_afterwards(proxy: Proxy):
    number = await proxy.impose(BlackHole())
    async with client(proxy) as one:
        asked = asyncio.create_task(one.ask(b"late"))
        done, _ = await asyncio.wait({asked}, timeout=0.3)
        assert not done
        assert await proxy.lift(number) == {"held_bytes": 4}
        assert await asked == b"late"


async def test_a_delay_holds_both_directions(proxy: Proxy):
    number = await proxy.impose(Delay(latency_s=0.1, jitter_s=0.05))
    assert await proxy.look(number) == {}
    async with client(proxy) as one:
        began_s = time.monotonic()
        assert await one.ask(b"slow") == b"slow"
        assert time.monotonic() - began_s >= 0.2
    assert (await proxy.look(number))["delayed_chunks"] == 2
    assert (await proxy.lift(number))["delayed_chunks"] == 2


async def test_a_disturbance_is_lifted_once_it_has_met_traffic(proxy: Proxy):
    stage = Stage(cast("Stack", None), {"s3": proxy}, "raw", "judged")
    fault = Disturbed("net_slow", "s3", Delay(latency_s=0.01))
    await fault.inject(stage)
    healing = asyncio.create_task(fault.heal(stage))
    done, _ = await asyncio.wait({healing}, timeout=0.5)
    assert not done
    async with client(proxy) as one:
        assert await one.ask(b"x") == b"x"
        await healing
    assert fault.evidence["effects"] == fault.evidence["delayed_chunks"] > 0


async def test_lifting_ends_the_waiting(proxy: Proxy):
    number = await proxy.impose(Delay(latency_s=3600))
    async with client(proxy) as one:
        asked = asyncio.create_task(one.ask(b"freed"))
        await asyncio.wait({asked}, timeout=0.2)
        await proxy.lift(number)
        assert await asked == b"freed"


async def test_bandwidth_is_limited(proxy: Proxy):
    number = await proxy.impose(Throttle(bytes_per_s=1_000_000))
    async with client(proxy) as one:
        began_s = time.monotonic()
        assert len(await one.ask(bytes(400_000))) == 400_000
        assert time.monotonic() - began_s >= 0.4
    assert (await proxy.lift(number))["throttled_bytes"] == 800_000


async def test_a_lost_answer_is_one_to_a_request_that_was_done(tmp_path: Path):
    done: list[bytes] = []

    def note(data: bytes) -> bytes:
        done.append(data)
        return data

    async with echo(note) as port, before(StackPaths(tmp_path), port) as proxy:
        number = await proxy.impose(Cut(share=1.0, answers_only=True))
        async with client(proxy) as one:
            assert await one.is_reset()
        assert done == [b"x"]
        assert await proxy.lift(number) == {"lost_answers": 1}


async def test_a_share_of_the_chunks_is_cut(proxy: Proxy):
    number = await proxy.impose(Cut(share=0.5))
    cut = 0
    for _ in range(40):
        async with client(proxy) as one:
            cut += await one.is_reset()
    effects = await proxy.lift(number)
    assert cut == sum(effects.values())
    assert 10 < cut < 40
    assert set(effects) == {"lost_answers", "lost_requests"}


async def test_the_first_chunk_is_cut_however_small_the_share(proxy: Proxy):
    number = await proxy.impose(Cut(share=0.0))
    async with client(proxy) as one, client(proxy) as two:
        assert await one.is_reset()
        assert await two.ask(b"a") == b"a"
    assert await proxy.lift(number) == {"lost_requests": 1}


async def test_an_error_of_the_store_is_answered_in_its_place(proxy: Proxy):
    number = await proxy.impose(Answer(share=1.0, status=503))
    async with client(proxy) as one:
        one.writer.write(b"PUT /bucket/key HTTP/1.1\r\nExpect: 100-continue\r\n\r\n")
        head = await one.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 SlowDown\r\n")
        assert b"<Code>SlowDown</Code>" in await one.reader.read()
    assert await proxy.lift(number) == {"errors_answered": 1}


async def test_conditions_are_lifted_one_by_one_and_once(proxy: Proxy):
    slow, slower = await proxy.impose(Delay(0.05)), await proxy.impose(Delay(0.05))
    assert await proxy.lift(slow) == {}
    async with client(proxy) as one:
        await one.ask(b"x")
    assert await proxy.lift(slower) == {"delayed_chunks": 2}
    assert await proxy.lift(slower) == {}


async def test_the_server_may_move_or_be_unknown(tmp_path: Path):
    paths = StackPaths(tmp_path)
    publish(paths)
    async with echo() as port, Proxies(paths, seed=1, upstreams={"echo": "server"}) as proxies:
        assert await is_refused(proxies["echo"])
        publish(paths, server=port)
        async with client(proxies["echo"]) as two:
            assert await two.ask(b"found") == b"found"


async def test_the_process_ends_with_whoever_started_it_and_its_death_is_said(tmp_path: Path):
    paths = StackPaths(tmp_path)
    publish(paths)
    me = psutil.Process()
    async with Proxies(paths, seed=1, upstreams={"echo": "server"}) as proxies:
        [child] = [p for p in me.children() if "devstack.chaos.proxy" in p.cmdline()]
    assert not child.is_running()
    async with Proxies(paths, seed=1, upstreams={"echo": "server"}) as proxies:
        [child] = [p for p in me.children() if "devstack.chaos.proxy" in p.cmdline()]
        child.send_signal(signal.SIGKILL)
        with pytest.raises(StackError, match="proxies have ended"):
            await proxies["echo"].drop_all()


async def test_valkey_behind_a_proxy_that_drops_and_hides_it(tmp_path: Path, redis_url: str):
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    async with (
        before(StackPaths(tmp_path), port) as proxy,
        Redis(host="127.0.0.1", port=proxy.port, socket_timeout=0.5, retry=Retry(NoBackoff(), 0)) as valkey,
    ):
        await valkey.set("through the proxy", 1)
        number = await proxy.impose(BlackHole())
        with pytest.raises(RedisError):
            await valkey.get("through the proxy")
        await proxy.lift(number)
        assert await valkey.get("through the proxy") == b"1"
        await valkey.delete("through the proxy")


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_clients_that_came_to_kafka_by_the_proxy_come_back_by_it(tmp_path: Path):
    async with Proxies(StackPaths(tmp_path), seed=1, upstreams={"kafka": "kafka-proxied"}) as proxies:
        proxy = proxies["kafka"]
        with Stack.start(tmp_path, services=(), servers=("kafka",), kafka_proxy=proxy.address, tied=True) as stack:
            direct = stack.endpoints().kafka
            assert direct != proxy.address
            await ensure_topics(direct, [TopicSpec("raw.proxied.v1", 1)])
            async with AIOKafkaProducer(bootstrap_servers=proxy.address, request_timeout_ms=5_000) as producer:
                await producer.send_and_wait("raw.proxied.v1", b"before")
                hole = await proxy.impose(BlackHole())
                sending = asyncio.create_task(producer.send_and_wait("raw.proxied.v1", b"held"))
                done, _ = await asyncio.wait({sending}, timeout=0.5)
                assert not done, "a client that went past the proxy would have been answered"
                await proxy.lift(hole)
                await sending
                assert await proxy.drop_all() >= 1
                os.kill(stack.pid("kafka"), signal.SIGTERM)
                await producer.send_and_wait("raw.proxied.v1", b"after")
            async with AIOKafkaConsumer(bootstrap_servers=direct) as consumer:
                consumer.assign([TopicPartition("raw.proxied.v1", 0)])
                consumer.seek(TopicPartition("raw.proxied.v1", 0), 0)
                values = [(await consumer.getone()).value for _ in range(3)]
            assert values == [b"before", b"held", b"after"]
