"""A store that is opened when it is first asked."""

import asyncio

import pytest

from dataforge.errors import Transient
from dataforge.storage.later import LaterStore
from dataforge.storage.memory import MemoryStore


class Opening(MemoryStore):
    """A real store in memory that counts its life."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = self.closed = 0
        self.refuses = 0

    async def open(self) -> "Opening":
        await asyncio.sleep(0)  # others get to ask meanwhile
        if self.refuses:
            self.refuses -= 1
            raise Transient("not there yet")
        self.opened += 1
        return self

    async def close(self) -> None:
        self.closed += 1


async def test_it_is_opened_once_however_many_ask_at_the_same_time():
    store = Opening()
    later = LaterStore(store.open)
    assert store.opened == 0
    created = await asyncio.gather(*(later.put_if_absent("a", b"%d" % n) for n in range(8)))
    assert (created.count(True), store.opened) == (1, 1)
    assert await later.get("a") == await store.get("a")
    assert await later.tail("a", 1) == await store.tail("a", 1)
    assert [key async for key in later.list("")] == ["a"]
    await later.close()
    assert (store.opened, store.closed) == (1, 1)


async def test_one_that_nobody_asked_is_neither_opened_nor_closed():
    store = Opening()
    await LaterStore(store.open).close()
    assert (store.opened, store.closed) == (0, 0)


async def test_where_opening_fails_the_next_to_ask_tries_again():
    store = Opening()
    store.refuses = 1
    later = LaterStore(store.open)
    with pytest.raises(Transient):
        await later.get("a")
    assert await later.put_if_absent("a", b"") is True
