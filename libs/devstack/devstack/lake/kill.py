"""A job of the lake, killed at a moment of its work that can be named and shown.

A commit is: data files in the store, then a metadata file that names them, then the catalog, which is made to name
that file. The write lock of the SQLite catalog is all it takes to stop a job between the last two.
"""

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from devstack.errors import StackError
from devstack.oracle.lake import metadata_location
from devstack.oracle.landed import Bucket

_POLL_S = 0.05

Look = Callable[[], Awaitable[str | None]]
"""What was seen, in words, once the moment has come."""


@dataclass(frozen=True, slots=True)
class Kill:
    job: str
    moment: str
    seen: str
    """The evidence that the job was in the middle of its work."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A table, from outside: what the catalog says of it, and what is in the store."""

    catalog: Path
    bucket: Bucket
    namespace: str
    table: str

    def location(self) -> str | None:
        return metadata_location(self.catalog, self.namespace, self.table)

    async def keys(self, folder: str) -> set[str]:
        """Of the objects in `metadata` or `data`; none where there is no table yet."""
        location = self.location()
        if location is None:
            return set()
        prefix = urlparse(location).path.lstrip("/").rpartition("/metadata/")[0] + f"/{folder}/"
        async with self.bucket.client() as s3:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket.name, Prefix=prefix)
            return {entry["Key"] async for page in pages for entry in page.get("Contents", [])}


async def killed(job: str, moment: str, command: Sequence[str], env: Mapping[str, str], look: Look, log: Any) -> Kill:
    """Start a job, SIGKILL it and all of its processes once `look` sees something.

    *Raises* `StackError` where the job ends before that: then nothing was shown.
    """
    running = await asyncio.create_subprocess_exec(
        *command, env=dict(env), stdout=log, stderr=log, start_new_session=True
    )
    try:
        while (seen := await look()) is None:
            if running.returncode is not None:
                raise StackError(f"{job} ended with {running.returncode} before it could be killed {moment}")
            await asyncio.sleep(_POLL_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        ended = await running.wait()
    if ended != -signal.SIGKILL:
        raise StackError(f"{job} ended with {ended} before it could be killed {moment}")
    return Kill(job, moment, seen)


def between_commits(table: Watched, commits: int, delay_s: float) -> Look:
    """So long after so many commits."""
    before, seen = table.location(), set[str]()
    due_s = float("inf")

    async def look() -> str | None:
        nonlocal due_s
        location = table.location()
        if location != before:
            seen.add(str(location))
        if len(seen) >= commits:
            due_s = min(due_s, time.monotonic() + delay_s)
        return f"{delay_s:.2f} s after commit {len(seen)}" if time.monotonic() >= due_s else None

    return look


@contextmanager
def locked(catalog: Path) -> Iterator[None]:
    """Nobody can commit as long as this lasts: whoever tries waits, half a minute at most."""
    lock = sqlite3.connect(catalog, timeout=30, isolation_level=None)
    try:
        lock.execute("BEGIN IMMEDIATE")
        yield
    finally:
        lock.close()


def in_a_commit(table: Watched) -> Look:
    """When a commit's metadata is in the store and the catalog does not name it: to be used while it is `locked`."""
    current = _version(str(table.location()))

    async def look() -> str | None:
        written = [key for key in await table.keys("metadata") if _version(key) > current]
        return f"{written[0].rpartition('/')[2]} was written, the catalog was at {current:05d}" if written else None

    return look


async def while_writing(table: Watched) -> Look:
    """When data files are in the store that no commit has: to be used while the catalog is `locked`."""
    before = await table.keys("data")

    async def look() -> str | None:
        new = await table.keys("data") - before
        return f"{len(new)} data files were written, none of them committed" if new else None

    return look


def _version(key: str) -> int:
    """Of a metadata file, `00012-<uuid>.metadata.json`; -1 of what is none."""
    name = key.rpartition("/")[2]
    return int(name.partition("-")[0]) if name.endswith(".metadata.json") else -1
