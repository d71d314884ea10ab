"""What every object store promises, asked of the real one and of its in-memory twin."""

import asyncio
import os
from uuid import uuid4

import pytest

from dataforge.errors import Fatal, Transient
from dataforge.storage.memory import MemoryStore
from dataforge.storage.objects import ObjectStore
from dataforge.storage.s3 import S3Store


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    return MemoryStore() if request.param == "memory" else request.getfixturevalue("s3_store")


@pytest.fixture
def prefix() -> str:
    return f"conformance/{uuid4().hex}/"


async def keys(store: ObjectStore, prefix: str, start_after: str = "") -> list[str]:
    return [key async for key in store.list(prefix, start_after)]


@pytest.mark.parametrize("data", [b"", b"\x00\xff", os.urandom(3_000_000)], ids=["empty", "two bytes", "3 MB"])
async def test_what_was_put_is_got(store: ObjectStore, prefix: str, data: bytes) -> None:
    assert await store.put_if_absent(f"{prefix}a", data) is True
    assert await store.get(f"{prefix}a") == data


async def test_the_first_put_stays(store: ObjectStore, prefix: str) -> None:
    assert await store.put_if_absent(f"{prefix}a", b"first") is True
    assert await store.put_if_absent(f"{prefix}a", b"second") is False
    assert await store.put_if_absent(f"{prefix}a", b"first") is False, "the same bytes exist too"
    assert await store.get(f"{prefix}a") == b"first"


async def test_one_of_racing_writers_creates_the_object(store: ObjectStore, prefix: str) -> None:
    bodies = [b"%02d" % n * 100_000 for n in range(16)]
    created = await asyncio.gather(*(store.put_if_absent(f"{prefix}a", body) for body in bodies))
    assert created.count(True) == 1
    assert await store.get(f"{prefix}a") == bodies[created.index(True)]


@pytest.mark.parametrize("size", [1, 4, 10, 11, 1000])
async def test_a_tail_is_the_end_or_all_of_it(store: ObjectStore, prefix: str, size: int) -> None:
    await store.put_if_absent(f"{prefix}a", b"0123456789")
    assert await store.tail(f"{prefix}a", size) == b"0123456789"[-size:]


async def test_what_is_not_there_is_a_key_error(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(KeyError):
        await store.get(f"{prefix}a")
    with pytest.raises(KeyError):
        await store.tail(f"{prefix}a", 10)
    assert await keys(store, prefix) == []


async def test_lists_are_ordered_and_go_on_where_asked(store: ObjectStore, prefix: str) -> None:
    names = [f"{prefix}1/{n:020d}.parquet" for n in (0, 7, 10, 99, 100)]
    await asyncio.gather(
        *(store.put_if_absent(name, b"x") for name in [*reversed(names), f"{prefix}10/0", f"{prefix}2"])
    )
    assert await keys(store, f"{prefix}1/") == names
    assert await keys(store, f"{prefix}1/", names[1]) == names[2:]
    assert await keys(store, f"{prefix}1/", f"{prefix}1/{8:020d}") == names[2:], "start_after need not exist"
    assert await keys(store, f"{prefix}1/", names[-1]) == []


@pytest.mark.parametrize("count", [9, 10, 11, 20, 35])
async def test_a_list_longer_than_a_page(store: ObjectStore, prefix: str, count: int) -> None:
    names = [f"{prefix}{n:05d}" for n in range(count)]
    await asyncio.gather(*(store.put_if_absent(name, b"") for name in names))
    assert await keys(store, prefix) == names


async def test_an_address_where_nobody_listens_is_transient(unused_tcp_port: int) -> None:
    store = S3Store(
        "bucket", endpoint=f"http://127.0.0.1:{unused_tcp_port}", access_key="a", secret_key="b", patience_s=0.3
    )
    await store.open()
    with pytest.raises(Transient, match="does not answer"):
        await store.put_if_absent("a", b"x")
    await store.close()


async def test_a_server_that_does_not_read_ends_the_try() -> None:
    """Its socket takes no more than its buffers hold: the upload hangs, and no timeout of the client counts that."""
    hung = asyncio.Event()

    async def never_read(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hung.wait()
        writer.close()

    server = await asyncio.start_server(never_read, "127.0.0.1", 0, limit=1)
    port = server.sockets[0].getsockname()[1]
    store = S3Store(
        "bucket", endpoint=f"http://127.0.0.1:{port}", access_key="a", secret_key="b", timeout_s=0.3, patience_s=0.5
    )
    await store.open()
    try:
        async with asyncio.timeout(10):
            with pytest.raises(Transient, match="does not answer"):
                await store.put_if_absent("a", bytes(32_000_000))
    finally:
        hung.set()
        await store.close()
        server.close()
        await server.wait_closed()


@pytest.mark.integration
async def test_a_wrong_bucket_is_fatal_and_named(s3_store: S3Store) -> None:
    s3_store._bucket = "there-is-no-such-bucket"
    with pytest.raises(Fatal, match="there-is-no-such-bucket"):
        await s3_store.put_if_absent("a", b"x")
    with pytest.raises(Fatal, match="there-is-no-such-bucket"):
        await keys(s3_store, "")
