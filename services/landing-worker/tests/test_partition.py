"""The chain under crashes, timeouts, late PUTs and zombies: it verifies clean and holds the log (DESIGN R5, R6b)."""

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.errors import Fatal
from dataforge.stream.judged import Stamp, Verdict

from landing_worker.land import Limits

MakeWorld = Callable[..., Any]


async def test_a_full_object_is_cut_at_once_and_a_small_one_when_it_is_old(make_world: MakeWorld) -> None:
    world = make_world(limits=Limits(max_age_s=1.0, max_rows=4))
    world.append(5)
    worker = await world.open()
    await worker.take(4)
    await worker.rest()
    assert worker.work.position == 4
    await worker.take(1)
    await worker.rest(0.9)
    assert worker.work.position == 4
    await worker.rest(0.2)
    assert worker.work.position == 5
    assert [footer.count async for footer, _ in world.chain.read(0)] == [4, 1]


async def test_bytes_cut_an_object_too(make_world: MakeWorld) -> None:
    world = make_world(limits=Limits(max_bytes=6))
    world.append(2)  # three bytes each: key and value
    worker = await world.open()
    await worker.take(2)
    await worker.rest()
    assert worker.work.position == 2


async def test_take_waits_while_one_object_is_in_flight_and_the_next_is_full(make_world: MakeWorld) -> None:
    world = make_world(limits=Limits(max_rows=2))
    world.append(20)
    world.store.fates = ["lost"] * 3
    worker = await world.open()
    await worker.take(2)
    await worker.take(2)
    assert worker.next == 4
    for _ in range(3):
        await worker.take(2)
        assert worker.next == 4, "put back: nothing of it may be kept"
    await worker.take(2)
    assert worker.next == 6
    await worker.work.close()
    await world.drain()
    await world.assert_exact()


@pytest.mark.parametrize("fate", ["lost", "unacknowledged", "late"])
async def test_a_put_that_timed_out_is_put_again_under_the_same_key(make_world: MakeWorld, fate: str) -> None:
    world = make_world()
    world.append(4)
    world.store.fates = [fate]
    worker = await world.open()
    await worker.take(4)
    await worker.rest()
    assert worker.work.position == 0, "not known to be safe"
    await worker.rest()
    assert (worker.work.position, worker.superseded) == (4, False)
    world.store.deliver()
    world.append(3)
    await world.drain()
    await world.assert_exact()


async def test_crash_between_put_and_answer(make_world: MakeWorld) -> None:
    world = make_world()
    world.append(6)
    world.store.fates = ["unacknowledged"]
    worker = await world.open()
    await worker.take(4)
    await worker.rest()
    assert worker.work.position == 0
    successor = await world.open()  # the first one is never heard of again
    assert successor.next == 4
    await world.drain()
    await world.assert_exact()


async def test_a_late_put_arrives_before_the_new_owners(make_world: MakeWorld) -> None:
    world = make_world()
    world.append(4)
    world.store.fates = ["late"]
    old = await world.open()
    await old.take(4)
    await old.rest()
    new = await world.open()
    assert new.next == 0
    world.append(2)
    await new.take(6)
    world.store.deliver()
    await new.rest()
    assert new.superseded
    assert await world.landed() == world.log[:4]
    await world.drain()
    await world.assert_exact()


async def test_a_late_put_arrives_after_the_new_owners(make_world: MakeWorld) -> None:
    world = make_world()
    world.append(4)
    world.store.fates = ["late"]
    old = await world.open()
    await old.take(4)
    await old.rest()
    world.append(2)
    await world.drain()
    world.store.deliver()
    await old.rest()
    assert old.superseded
    await world.assert_exact()


async def test_a_zombie_is_stopped_by_its_next_put(make_world: MakeWorld) -> None:
    world = make_world()
    world.append(8)
    zombie = await world.open()
    await zombie.take(2)
    owner = await world.open()
    await owner.take(4)
    await owner.rest()
    await zombie.rest(5)
    assert zombie.superseded
    await owner.take(4)
    await owner.rest()
    assert (owner.work.position, owner.superseded) == (8, False)
    await world.assert_exact()


async def test_a_sparse_log_has_no_holes_in_its_chain(make_world: MakeWorld) -> None:
    world = make_world()
    world.append(0, gap=7)
    for _ in range(5):
        world.append(3, gap=100)
    await world.drain()
    await world.assert_exact()
    assert (await world.chain.end()).next == world.end


async def test_closing_lands_what_is_held_or_leaves_it_to_the_next(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world()
    world.append(3)
    worker = await world.open()
    await worker.take(3)
    world.store.fates = ["lost"]
    with caplog.at_level(logging.WARNING):
        await worker.work.close()
    assert "not landed" in caplog.text
    assert await world.landed() == []
    await world.drain()
    await world.assert_exact()


def stamped(src: int, base: int, ts: int = 5) -> list[tuple[str, bytes]]:
    return [("df", Stamp(Verdict.VALID, src, base, ts, 1, 2, bytes(16)).pack())]


async def test_judged_footers_carry_the_acceptance_fold(make_world: MakeWorld) -> None:
    world = make_world(judged=True)
    for src, base in [(0, 0), (3, 1), (3, 1), (1, 1), (4, 4), (9, 7), (8, 5), (9, 9)]:
        world.append(1, headers=stamped(src, base, ts=100 * src))
    await world.drain()
    await world.assert_exact()
    footer = (await world.chain.end()).footer
    assert footer.accepted_next == 10
    assert footer.last_src.offset == 9


REPLACED = {
    "another id": lambda world: setattr(world, "topic_id", b"\xcd" * 16),
    "ends earlier": lambda world: setattr(world, "end", 3),
    "begins later": lambda world: setattr(world, "begin", 5),
    "another value": lambda world: world.log.__setitem__(3, world.log[3]._replace(value=b"other")),
    "another time": lambda world: world.log.__setitem__(3, world.log[3]._replace(timestamp=1)),
}


@pytest.mark.parametrize("how", REPLACED)
async def test_a_replaced_log_is_fatal(make_world: MakeWorld, how: str) -> None:
    world = make_world()
    world.append(4)
    await world.drain()
    await world.open()
    REPLACED[how](world)
    with pytest.raises(Fatal, match=re.escape("raw.shop.sale.v1/0: ")):
        await world.open()


fates = st.lists(st.sampled_from(["ok", "ok", "lost", "unacknowledged", "late"]), max_size=30)
steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["append", "append", "open", "take", "take", "take", "tick", "rest", "deliver", "kill", "close"]
        ),
        st.integers(0, 3),
        st.integers(1, 5),
    ),
    min_size=10,
    max_size=60,
)


@settings(max_examples=150)
@given(steps=steps, fates=fates, judged=st.booleans())
async def test_any_schedule(make_world: MakeWorld, steps: list[Any], fates: list[Any], judged: bool) -> None:
    """Several workers of one partition at the same time, any of them slow, dead, or told nothing."""
    world = make_world(judged=judged)
    world.store.fates = fates
    world.append(12, headers=stamped(0, 0) if judged else ())
    workers: list[Any] = [await world.open()]
    for what, which, size in steps:
        worker = workers[which % len(workers)] if workers else None
        if what == "append":
            world.append(size, gap=which, headers=stamped(len(world.log), len(world.log) - which) if judged else ())
        elif what == "open":
            workers.append(await world.open())
        elif what == "deliver":
            world.store.deliver()
        elif worker is not None and what == "kill":
            workers.remove(worker)  # its PUT in flight may still be done
        elif worker is not None and what == "close":
            workers.remove(worker)
            await worker.close()
        elif worker is not None and what == "take":
            await worker.take(size)
        elif worker is not None:
            await (worker.tick if what == "tick" else worker.rest)(0.3 * size)
    world.store.fates = []
    world.append(1, headers=stamped(len(world.log), 0) if judged else ())
    await world.drain()
    world.store.deliver()
    for worker in workers:
        await worker.rest(2)
    await world.assert_exact()
