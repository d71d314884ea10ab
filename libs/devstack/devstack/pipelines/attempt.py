"""One attempt of a step: a command that leads a process group, of which nothing stays."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from devstack.processes import ProcessId, end_groups, identify, spawn

_STOP_S = 10.0
"""From SIGTERM to SIGKILL."""
_SAID_BYTES = 4096
_SAID_LINES = 8


class Ended(NamedTuple):
    code: int | None
    """None: it took too long. Negative: a signal."""
    said: str
    """The end of what it wrote."""

    @property
    def well(self) -> bool:
        return self.code == 0


def attempt(
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    cwd: Path,
    log: Path,
    limit_s: float,
    started: Callable[[ProcessId], None] = lambda _: None,
) -> Ended:
    """Run it to its end, or end it after `limit_s`. What it writes goes to the end of `log`.

    *Guarantees*: nothing of its process group outlives this call, also where that is interrupted. Where this process
    is killed the command goes with it (on Linux), but not what that has started: see `alone`.
    """
    begin = log.stat().st_size if log.exists() else 0
    child = spawn(command, env=env, cwd=cwd, log=log)
    leader = identify(child.pid)
    try:
        started(leader)
        code = child.wait(limit_s)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        end_groups([leader], within_s=_STOP_S)
        child.wait()
    said = last_words(log, begin)
    return Ended(code, said if code is not None else "\n".join(filter(None, (said, f"ended after {limit_s:g} s"))))


def last_words(log: Path, begin: int = 0) -> str:
    """The last lines of what stands in a log behind `begin`; a shorter log was begun anew."""
    with log.open("rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(max(begin if begin <= size else 0, size - _SAID_BYTES))
        lines = handle.read().decode("utf-8", "replace").splitlines()
    return "\n".join([line.rstrip() for line in lines if line.strip()][-_SAID_LINES:])
