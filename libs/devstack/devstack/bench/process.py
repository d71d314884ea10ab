"""A contestant's process: what it said, and what it cost with all its threads and child processes."""

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from devstack.errors import StackError

_LOOK_S = 0.01
_PATIENCE_S = 600.0


class Cost(NamedTuple):
    cpu_s: float
    wall_s: float
    """Until it was done, where somebody else says when; else until its end."""
    peak_mib: float
    said: str
    """Its standard output."""


async def cost_of(
    command: Sequence[str], env: Mapping[str, str], done: Callable[[], Awaitable[bool]] | None = None
) -> Cost:
    """Run it to its end; one that goes on for ever is asked to end once it is `done`.

    *Raises* `StackError` where it fails, or takes too long.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        began_s, asking = time.monotonic(), None
        process = subprocess.Popen(command, env=dict(env), stdout=out, stderr=errors)  # noqa: ASYNC220 - for `wait4`
        done_s: float | None = None
        peak_mib = 0.0
        try:
            while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:  # noqa: ASYNC222 - it does not wait
                if time.monotonic() > began_s + _PATIENCE_S:
                    raise StackError(f"{command[0]} … does not end within {_PATIENCE_S:.0f} s")
                if done is not None and done_s is None:
                    asking = asking or asyncio.ensure_future(done())
                    await asyncio.wait([asking], timeout=_LOOK_S)
                    if asking.done() and asking.result():
                        done_s = time.monotonic()
                        process.send_signal(signal.SIGTERM)
                    asking = None if asking.done() else asking
                else:
                    await asyncio.sleep(_LOOK_S)
                peak_mib = _peak_mib(process.pid) or peak_mib
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
        ended_s, (_, status, used) = time.monotonic(), ended
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            said = errors.read()[-2000:].decode(errors="replace")
            raise StackError(f"{' '.join(command)} ended with {process.returncode}: {said}")
        out.seek(0)
        wall_s = (done_s or ended_s) - began_s
        return Cost(used.ru_utime + used.ru_stime, wall_s, peak_mib or used.ru_maxrss / 1024, out.read().decode())


def _peak_mib(pid: int) -> float | None:
    """Since it began to be another program than ours, whose peak `ru_maxrss` starts from. None where nobody says."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)
