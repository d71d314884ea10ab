"""A stack of Valkey and stand-ins: real processes, real kills."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from devstack.errors import StackError
from devstack.model import ServiceSpec, read_state
from devstack.paths import StackPaths
from devstack.stack import Stack

pytestmark = pytest.mark.integration

WORKER = ServiceSpec("worker", "stand_in")
ENV = {"PYTHONPATH": str(Path(__file__).parent)}


def start(folder: Path, *services: ServiceSpec, env: dict[str, str] | None = None) -> Stack:
    chosen = services or (WORKER,)
    return Stack.start(folder, services=chosen, servers=("valkey",), env=ENV | (env or {}), timeout_s=30, tied=True)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with start(tmp_path) as running:
        yield running


def test_a_second_start_finds_the_first(stack: Stack, tmp_path: Path):
    before = stack.state()
    again = start(tmp_path)
    assert again.state() == before
    assert Stack.attach(tmp_path).pid("worker") == before.program("worker").pid


def test_two_starts_at_the_same_time_are_one_stack(tmp_path: Path, watch: Any):
    left_behind, _ = watch
    with ThreadPoolExecutor(2) as threads:  # which live as long as what they started is to live
        one, two = threads.map(lambda _: start(tmp_path), range(2))
        assert one.state() == two.state()
        assert len(left_behind(tmp_path)) == 3
        assert one.stop()
        assert not two.stop()  # it has ended; whichever of them started the supervisor must hear of it
    assert left_behind(tmp_path) == []


def test_stop_is_graceful_and_leaves_nothing(tmp_path: Path, watch: Any):
    left_behind, _ = watch
    stack = start(tmp_path)
    worker = stack.pid("worker")
    assert len(left_behind(tmp_path)) == 3
    assert stack.stop()
    assert left_behind(tmp_path) == []
    assert (tmp_path / "worker" / "stopped").read_text() == str(worker)
    assert not Stack(StackPaths(tmp_path)).stop()
    with pytest.raises(StackError, match="dataforge up"):
        Stack.attach(tmp_path)


def test_what_dies_is_started_again_on_its_port_and_it_is_written_down(stack: Stack, watch: Any):
    _, eventually = watch
    for count, name in enumerate(("worker", "valkey", "worker"), 1):
        before = stack.state().program(name)
        os.kill(before.pid, signal.SIGKILL)
        eventually(lambda n=count: len(stack.state().restarts) == n and stack.state().phase == "ready")
        after, restart = stack.state().program(name), stack.state().restarts[-1]
        assert after.ports == before.ports
        assert (restart.name, restart.old_pid, restart.new_pid) == (name, before.pid, after.pid)
        assert "SIGKILL" in restart.reason
    assert stack.state().program("worker").restarts == 2


def test_stop_after_the_supervisor_was_killed_leaves_nothing(tmp_path: Path, watch: Any):
    left_behind, eventually = watch
    stack = start(tmp_path)
    supervisor = stack.state().supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    eventually(lambda: not supervisor.alive())
    stack.stop()
    assert left_behind(tmp_path) == []
    state = read_state(StackPaths(tmp_path).state)
    assert state is not None
    assert state.phase == "stopped"


def test_a_start_after_the_supervisor_was_killed_has_the_same_ports_and_keys(tmp_path: Path, watch: Any):
    _, eventually = watch
    first = start(tmp_path)
    before, supervisor = first.state(), first.state().supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    eventually(lambda: not supervisor.alive())
    with start(tmp_path) as second:
        assert second.endpoints() == before.endpoints
        assert second.pid("worker") != before.program("worker").pid
    first.stop()


def test_a_change_restarts_gracefully_only_what_it_concerns(stack: Stack, tmp_path: Path):
    before = stack.state()
    changed = start(tmp_path, WORKER, env={"NEW": "1"}).state()
    assert changed.program("valkey").pid == before.program("valkey").pid
    assert changed.program("worker").pid != before.program("worker").pid
    assert (tmp_path / "worker" / "stopped").read_text() == str(before.program("worker").pid)
    assert "NEW=1" in (tmp_path / "worker" / "environment").read_text().splitlines()
    assert changed.restarts == []


def test_another_instance_leaves_the_first_undisturbed(stack: Stack, tmp_path: Path):
    before = stack.state()
    two = msgspec.structs.replace(WORKER, instances=2)
    scaled = start(tmp_path, two).state()
    assert scaled.program("worker").pid == before.program("worker").pid
    environment = (tmp_path / "worker-2" / "environment").read_text().splitlines()
    assert "DATAFORGE_INSTANCE=worker-2" in environment
    assert f"DATAFORGE_ADMIN_PORT={scaled.program('worker-2').ports['admin']}" in environment
    assert f"DATAFORGE_REDIS_URL={scaled.endpoints.redis_url}" in environment
    assert f"DATAFORGE_LAKE_CATALOG={tmp_path / 'lake' / 'catalog.db'}" in environment


def test_a_service_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path, watch: Any):
    left_behind, _ = watch
    with pytest.raises(StackError, match="DATAFORGE_NONSENSE"):
        start(tmp_path, env={"STAND_IN_FAILS": "1"})
    assert left_behind(tmp_path) == []


def test_a_configuration_that_cannot_be_applied_is_told_of(tmp_path: Path, watch: Any, monkeypatch: pytest.MonkeyPatch):
    left_behind, _ = watch
    monkeypatch.setattr("devstack.stack._REFUSED_S", 1.0)
    folder = tmp_path / "domains" / "shop"
    folder.mkdir(parents=True)
    (folder / "sale.v1.json").write_text("{")
    with pytest.raises(StackError, match=r"sale\.v1\.json"):
        Stack.start(tmp_path / "data", [folder], services=(WORKER,), servers=("valkey",), env=ENV, timeout_s=60)
    assert left_behind(tmp_path) == []


def test_files_that_hold_keys_are_the_owners_alone(stack: Stack):
    for file in (stack.paths.secrets, stack.paths.state):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("moment", ["starting", "ready"])
def test_ctrl_c_in_the_foreground_leaves_nothing(tmp_path: Path, watch: Any, make_domain: Any, moment: str):
    left_behind, eventually = watch
    options = ["--foreground", "--data", str(tmp_path), "--only", "valkey", "--domain", str(make_domain("alpha"))]
    command = [sys.executable, "-m", "devstack", "up", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as up:
        reached = {"starting": lambda s: s is not None, "ready": lambda s: s is not None and s.phase == "ready"}[moment]
        eventually(lambda: reached(read_state(StackPaths(tmp_path).state)))
        assert left_behind(tmp_path)
        os.killpg(up.pid, signal.SIGINT)
        up.wait(timeout=30)
    assert left_behind(tmp_path) == []


def test_what_is_held_stays_down_until_released_and_no_longer_than_its_supervisor(tmp_path: Path, watch: Any):
    _, eventually = watch
    with start(tmp_path) as stack:
        stack.hold("worker")
        os.kill(stack.pid("worker"), signal.SIGKILL)
        eventually(lambda: stack.state().program("worker").state == "held")
        assert stack.pid("worker") == 0
        assert stack.state().phase == "degraded"
        stack.release("worker")
        eventually(lambda: stack.state().phase == "ready")
        stack.hold("worker")
    with start(tmp_path) as again:
        assert again.state().program("worker").state == "ready"
