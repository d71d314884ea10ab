"""The clock's hook in a real Python process: steps from outside, and nothing while it is off."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.chaos.fault import NotInForce, Stage
from devstack.chaos.faults.clock import FORMAT, Stepped, hooked
from devstack.model import Endpoints, Running, State, write
from devstack.paths import StackPaths
from devstack.processes import identify
from devstack.settings import inherited
from devstack.stack import Stack

pytestmark = pytest.mark.integration

CHILD = """
import datetime, json, sys, time
real, monotonic = time.clock_gettime(time.CLOCK_REALTIME), time.monotonic()
for line in sys.stdin:
    utc, berlin = datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=1))
    real = time.clock_gettime(time.CLOCK_REALTIME)
    told = {
        "time": time.time() - real,
        "time_ns": time.time_ns() / 1e9 - real,
        "now": datetime.datetime.now().timestamp() - real,
        "now_utc": datetime.datetime.now(utc).timestamp() - real,
        "now_berlin": datetime.datetime.now(tz=berlin).timestamp() - real,
        "utcnow": datetime.datetime.utcnow().replace(tzinfo=utc).timestamp() - real,
        "today": (datetime.date.today() - datetime.date.fromtimestamp(real)).days * 86_400,
        "gmtime": time.mktime(time.gmtime()) - time.mktime(time.gmtime(real)),
        "monotonic": time.monotonic() - monotonic,
        "exact": type(datetime.datetime.now()) is datetime.datetime,
    }
    print(json.dumps(told), flush=True)
"""


class Child:
    """A Python with the hook on its path."""

    def __init__(self, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            env=inherited() | env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def told(self) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def close_to(told: dict[str, float], offset_s: float) -> bool:
    shifted = {name: seconds for name, seconds in told.items() if name not in ("monotonic", "exact", "today")}
    near = all(abs(seconds - offset_s) < 5 for seconds in shifted.values())
    return near and 0 <= told["monotonic"] < 60 and bool(told["exact"])


def stage(paths: StackPaths, pid: int) -> Stage:
    running = Running("aggregator", "service", "ready", {}, "", identify(pid))
    write(paths.state, State("ready", 1, None, Endpoints(), (), {}, [running], []))
    return Stage(Stack(paths), {}, "", "")


async def test_a_step_takes_effect_at_once_is_counted_and_is_taken_back(tmp_path: Path):
    paths = StackPaths(tmp_path)
    with Child(hooked(paths) | {"DATAFORGE_INSTANCE": "aggregator"}) as child:
        on = stage(paths, child.process.pid)
        assert close_to(child.told(), 0)
        for hours in (-30, 7):
            fault = Stepped("aggregator", hours * 3600)
            await fault.inject(on)
            told = child.told()
            assert close_to(told, hours * 3600), told
            assert told["today"] in ((-172_800, -86_400) if hours < 0 else (0, 86_400))
            await fault.heal(on)
            await fault.heal(on)
            assert fault.evidence["shifted_times_told"] >= 7
            assert close_to(child.told(), 0)


async def test_one_instance_is_stepped_and_no_other(tmp_path: Path):
    paths = StackPaths(tmp_path)
    env = hooked(paths)
    with Child(env | {"DATAFORGE_INSTANCE": "aggregator-2"}) as other, Child(env) as nobody:
        (paths.of("clocks") / "aggregator").write_bytes(struct.pack(FORMAT, 3600.0, 0))
        assert close_to(other.told(), 0)
        assert close_to(nobody.told(), 0)


async def test_without_the_hook_the_fault_says_so(tmp_path: Path):
    with Child({}) as child:
        on = stage(StackPaths(tmp_path), child.process.pid)
        with pytest.raises(NotInForce, match="without the clock's hook"):
            await Stepped("aggregator", 3600).inject(on)
