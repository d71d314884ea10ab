import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil

from devstack.processes import end_groups, identify, spawn

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(99)"
child = subprocess.Popen([sys.executable, "-c", deaf])
open("pids", "w").write(f"{os.getpid()} {child.pid} ")
time.sleep(99)
"""
PARENT = """
import sys, time
from pathlib import Path
from devstack.processes import spawn
child = spawn([sys.executable, "-c", "import time; time.sleep(99)"], env={}, cwd=Path("child"), log=Path("log"))
open("pids", "w").write(f"{child.pid} ")
time.sleep(99)
"""


def pids(folder: Path) -> list[int]:
    text = (folder / "pids").read_text() if (folder / "pids").exists() else ""
    return [int(p) for p in text.split()] if text.endswith(" ") else []


def start(code: str, folder: Path) -> subprocess.Popen[bytes]:
    return spawn([sys.executable, "-c", code], env=os.environ, cwd=folder, log=folder / "log")


def test_a_group_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path, watch: Any):
    left_behind, eventually = watch
    leader = start(STUBBORN, tmp_path)
    eventually(lambda: pids(tmp_path))
    identity = identify(leader.pid)
    assert set(identity.group()) == set(pids(tmp_path))
    assert end_groups([identity], within_s=0.3) == []
    assert leader.wait() == -signal.SIGKILL
    assert left_behind(tmp_path) == []


def test_a_group_whose_leader_has_died_is_still_found(tmp_path: Path, watch: Any):
    left_behind, eventually = watch
    leader = start(STUBBORN, tmp_path)
    eventually(lambda: pids(tmp_path))
    identity = identify(leader.pid)
    leader.kill()
    leader.wait()
    assert len(identity.group()) == 1
    assert end_groups([identity], within_s=0.3) == []
    assert left_behind(tmp_path) == []


def test_a_pid_that_was_used_again_is_not_ours(tmp_path: Path):
    other = start("import time; time.sleep(99)", tmp_path)
    stale = msgspec.structs.replace(identify(other.pid), started=identify(other.pid).started - 60)
    assert not stale.alive()
    assert stale.group() == []
    assert end_groups([stale], within_s=0.1) == []
    assert identify(other.pid).alive()
    other.kill()
    other.wait()


def test_a_child_dies_with_a_killed_parent(tmp_path: Path, watch: Any):
    left_behind, eventually = watch
    parent = start(PARENT, tmp_path)
    (child,) = eventually(lambda: pids(tmp_path))
    assert psutil.pid_exists(child)
    parent.kill()
    parent.wait()
    eventually(lambda: left_behind(tmp_path) == [])
