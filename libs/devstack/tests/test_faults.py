"""Faults on real processes and servers: each does what it says, shows it, and is healed."""

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError
from redis.asyncio import Redis

from dataforge.errors import DataForgeError
from dataforge.state.model import Commit
from dataforge.state.redis import RedisState

from devstack.chaos import disk
from devstack.chaos.fault import NotInForce, Stage
from devstack.chaos.faults.disk_full import DiskFull
from devstack.chaos.faults.lost_tail import LostTail, positions
from devstack.chaos.faults.processes import Kill, Rescaled, Zombie
from devstack.chaos.kinds import KINDS
from devstack.chaos.proxies import Proxies
from devstack.model import ServiceSpec
from devstack.oracle.landed import Bucket
from devstack.paths import StackPaths
from devstack.stack import Stack

pytestmark = pytest.mark.integration

NAME, CLAIM = "shop.sale.v1", "0" * 32
ENV = {"PYTHONPATH": str(Path(__file__).parent)}


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Each test leaves it as it found it."""
    two = ServiceSpec("aggregator", "stand_in", instances=2)
    folder = tmp_path_factory.mktemp("workers")
    with Stack.start(folder, services=(two,), servers=("valkey",), env=ENV, timeout_s=30, tied=True) as stack:
        yield Stage(stack, {}, "raw.shop.sale.v1", "judged.shop.sale.v1")


async def until(condition: Any, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


def test_a_seed_draws_the_same_faults():
    def drawn(seed: int) -> list[tuple[str, str, Any]]:
        chosen = random.Random(seed)
        faults = [kind.draw(chosen) for kind in KINDS.values()]
        return [(f.kind, f.victim, f.evidence) for f in faults]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert [fault[0] for fault in drawn(1)] == list(KINDS)


async def test_a_killed_program_is_another_process_afterwards(workers: Stage):
    fault = Kill("kill", "aggregator-2")
    process = workers.stack.state().program("aggregator-2").process
    assert process is not None
    before = process.pid
    await fault.inject(workers)
    assert not process.alive()
    await until(lambda: workers.stack.pid("aggregator-2") not in (0, before))
    await until(lambda: workers.stack.state().phase == "ready")
    await fault.heal(workers)
    assert fault.evidence["pid"] == before
    assert fault.evidence["ended_after_s"] < 20
    assert fault.evidence["signal"] == "SIGKILL"


async def test_a_zombie_stands_still_and_goes_on_as_the_same_process(workers: Stage):
    fault, pid = Zombie("aggregator"), workers.stack.pid("aggregator")
    await fault.inject(workers)
    await until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    await fault.heal(workers)
    await until(lambda: psutil.Process(pid).status() != psutil.STATUS_STOPPED)
    assert fault.evidence["effects"] == 1
    assert workers.stack.pid("aggregator") == pid
    await fault.heal(workers)


async def test_what_is_not_there_cannot_be_killed(workers: Stage):
    """A rebalance may have taken an instance away."""
    with pytest.raises(NotInForce, match="does not run"):
        await Kill("kill", "aggregator-9").inject(workers)


async def test_what_is_down_already_cannot_be_killed(workers: Stage):
    workers.stack.hold("aggregator")
    os.kill(workers.stack.pid("aggregator"), signal.SIGKILL)
    await until(lambda: workers.stack.state().program("aggregator").state == "held")
    with pytest.raises(NotInForce, match="does not run"):
        await Kill("kill", "aggregator").inject(workers)
    workers.stack.release("aggregator")
    await until(lambda: workers.stack.state().program("aggregator").state == "ready")


@pytest.mark.parametrize("instances", [1, 3])
async def test_instances_come_and_go_and_the_others_are_undisturbed(workers: Stage, instances: int):
    fault, pid = Rescaled("aggregator", instances), workers.stack.pid("aggregator")
    await fault.inject(workers)
    assert len(fault.evidence["instances"]) == instances
    await fault.heal(workers)
    await until(lambda: workers.stack.state().phase == "ready")
    names = [p.name for p in workers.stack.state().programs if p.kind == "service"]
    assert names == ["aggregator", "aggregator-2"]
    assert workers.stack.pid("aggregator") == pid


async def commit(state: RedisState, previous: int, position: int) -> None:
    changed = Commit(CLAIM, previous, position, {"next": str(position)}, ids={str(position): os.urandom(300)})
    await state.commit(NAME, 0, changed)


async def commit_on(redis_url: str, position: int) -> int:
    """One after the other, until the store does not answer. Returns how far it came."""
    state = RedisState(redis_url)
    try:
        while True:
            await commit(state, position, position + 1)
            position += 1
            await asyncio.sleep(0.01)
    except DataForgeError:
        return position
    finally:
        await state.close()


async def test_a_lost_tail_rolls_state_and_position_back_together(tmp_path: Path):
    paths = StackPaths(tmp_path)
    async with Proxies(paths, seed=1, upstreams={"valkey": "valkey"}) as proxies:
        with Stack.start(tmp_path, services=(), servers=("valkey",), timeout_s=30, tied=True) as stack:
            stage = Stage(stack, proxies, "", "")
            direct = stack.endpoints().redis_url
            state = RedisState(direct)
            await state.claim(NAME, 0, CLAIM)
            for position in range(1, 101):
                await commit(state, position - 1, position)
            await state.close()
            fault, pid = LostTail(least_bytes=5_000), stack.pid("valkey")
            with pytest.raises(NotInForce, match="nobody commits"):
                await fault.inject(stage)
            assert stack.pid("valkey") == pid
            committing = asyncio.create_task(commit_on(f"redis://{proxies['valkey'].address}/0", 100))
            await fault.inject(stage)
            reached = await committing
            [after] = (await positions(direct)).values()
            assert after < reached
            assert fault.evidence["records_rolled_back"] == fault.evidence["commits_lost"]
            assert fault.evidence["commits_lost"] - (reached - after) in (0, 1)  # the last one may not have been told
            assert fault.evidence["cut_bytes"] >= 5_000
            assert fault.evidence["pids"] == [pid]
            async with Redis.from_url(direct) as valkey:
                keys = await valkey.hkeys(f"df:{{{NAME}/0}}:ids")  # pyright: ignore[reportGeneralTypeIssues]
            assert sorted(map(int, keys)) == list(range(1, after + 1))
            async with Redis.from_url(f"redis://{proxies['valkey'].address}/0") as through:
                assert await through.ping()  # pyright: ignore[reportGeneralTypeIssues]
            await fault.heal(stage)


@asynccontextmanager
async def objects(stack: Stack):
    bucket = Bucket.of(stack.endpoints())
    async with bucket.client(retries={"total_max_attempts": 1}) as client:

        async def put(key: str, size: int) -> int:
            try:
                answer = await client.put_object(
                    Bucket=bucket.name, Key=key, Body=key[:1].encode() * size, IfNoneMatch="*"
                )
            except ClientError as error:
                answer = error.response
            return answer["ResponseMetadata"]["HTTPStatusCode"]

        async def stored() -> dict[str, bytes]:
            listed = await client.list_objects_v2(Bucket=bucket.name)
            keys = [entry["Key"] for entry in listed.get("Contents", ()) if "-" not in entry["Key"]]
            return {key: await bucket.get(client, key) for key in keys}

        yield put, stored


@pytest.mark.slow
@pytest.mark.skipif(disk.unavailable() is not None, reason=f"no small disk here: {disk.unavailable()}")
async def test_a_full_disk_refuses_tears_nothing_and_goes_on_when_there_is_room(tmp_path: Path):
    paths = StackPaths(tmp_path)
    async with disk.small_disk(paths, 16):
        with Stack.start(tmp_path, services=(), servers=("s3proxy",), tied=True) as stack:
            stage = Stage(stack, {}, "", "")
            async with objects(stack) as (put, stored):
                assert await put("a/1", 100_000) == 200
                fault = DiskFull(free_bytes=200_000)
                await fault.inject(stage)
                assert fault.evidence["free_bytes"] < 400_000
                assert await put("a/2", 1_000_000) >= 500
                assert await put("a/2", 1_000_000) >= 500
                assert await stored() == {"a/1": b"a" * 100_000}
                await fault.heal(stage)
                await fault.heal(stage)
                assert fault.evidence["refused_for_want_of_space"] >= 2
                assert await put("a/2", 1_000_000) == 200
                assert await put("a/2", 1_000_000) == 412
            pid = stack.pid("s3proxy")
            os.kill(pid, signal.SIGKILL)
            await until(lambda: stack.pid("s3proxy") not in (0, pid) and stack.state().phase == "ready", 60)
            async with objects(stack) as (_, stored):
                assert await stored() == {"a/1": b"a" * 100_000, "a/2": b"a" * 1_000_000}
    assert not (tmp_path / "s3proxy" / "objects").exists()


async def test_a_stack_without_a_disk_of_its_own_is_not_filled(workers: Stage):
    with pytest.raises(NotInForce, match="no disk of its own"):
        await DiskFull(0).inject(workers)
