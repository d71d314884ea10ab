"""One run of a pipeline at a time for a stack, and what a killed run left is ended by the next."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from devstack.errors import StackError
from devstack.processes import ProcessId, end_groups


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock; the content of its file."""

    pid: int
    step: ProcessId | None = None
    """Leader of the step that runs, or ran last."""


@contextmanager
def alone(lock: Path, pipeline: str) -> Iterator[Callable[[ProcessId], None]]:
    """Hold it; call what this yields with each step's process, so that others can end it should this one be killed.

    The kernel holds the lock for the process, not the file: it ends with the holder, however that ends.
    *Raises* `StackError` where another run goes on.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+b") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(handle)
            pid = f", as process {holder.pid}" if holder else ""
            raise StackError(f"{pipeline} runs already{pid}: wait until it has ended, or end it") from None
        before = _read(handle)
        if before is not None and before.step is not None:
            end_groups([before.step], within_s=10.0)
        mine = os.getpid()
        _write(handle, Holder(mine))
        try:
            yield lambda step: _write(handle, Holder(mine, step))
        finally:
            handle.truncate(0)  # whoever leaves in order has left nothing to end


def _read(handle: IO[bytes]) -> Holder | None:
    handle.seek(0)
    try:
        return msgspec.json.decode(handle.read(), type=Holder)
    except msgspec.DecodeError:
        return None  # empty, or its holder was killed while it wrote


def _write(handle: IO[bytes], holder: Holder) -> None:
    handle.truncate(0)
    handle.write(msgspec.json.encode(holder))
    handle.flush()
