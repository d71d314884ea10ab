"""What aiokafka's background tasks meet on uvloop, and who notices that one of them has ended."""

import asyncio
from types import SimpleNamespace
from typing import Any, Never

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

import dataforge.stream.topics  # noqa: F401 - as every client of Kafka does, it asks for resets to be told
from dataforge.stream.transport import Consumer


class ResetWriter:
    def write(self, data: bytes) -> Never:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    def close(self) -> None: ...


async def test_a_request_on_a_connection_that_was_reset_is_a_connection_error() -> None:
    connection: Any = AIOKafkaConnection("localhost", 9092)
    connection._writer = ResetWriter()
    connection._reader, connection._versions = asyncio.StreamReader(), {3: (0, 5)}
    connection._read_task = await ended(None)
    with pytest.raises(KafkaConnectionError, match="handler is closed"):
        connection.send(MetadataRequest([]))
    assert not connection.connected()


async def ended(error: Exception | None) -> asyncio.Task[None]:
    async def work() -> None:
        if error is not None:
            raise error

    task = asyncio.create_task(work())
    await asyncio.wait([task])
    return task


@pytest.mark.parametrize("which", ["fetching", "leaders", None])
async def test_a_consumer_whose_background_task_ended_says_so(which: str | None) -> None:
    problem = KeyError("what nobody expected")
    fetching = await ended(problem if which == "fetching" else None)
    leaders = await ended(problem if which == "leaders" else None)
    consumer: Any = Consumer.__new__(Consumer)
    consumer._kafka = SimpleNamespace(
        _coordinator=SimpleNamespace(check_errors=lambda: None),
        _fetcher=SimpleNamespace(_fetch_task=fetching),
        _client=SimpleNamespace(_sync_task=leaders),
    )
    if which is None:
        consumer.check()
    else:
        with pytest.raises(KeyError):
            consumer.check()
    assert all(task.exception() in (None, problem) for task in (fetching, leaders))


async def test_metadata_that_nobody_gives_is_not_asked_for_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataforge.stream.connection.REST_S", 0.05)
    client: Any = AIOKafkaClient(bootstrap_servers="localhost:1")
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    assert not await client._metadata_update(client.cluster, [])
    assert loop.time() >= began_s + 0.04
