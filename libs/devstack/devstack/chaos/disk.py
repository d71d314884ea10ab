"""A small disk of its own for the object store, so that it can be full without harm to anybody else.

It is a tmpfs in a mount namespace that a process holds; the store reaches it through `/proc/<pid>/root`. It needs no
rights but user namespaces. It outlives a killed store; it ends with whoever entered it, and what is on it with it.
"""

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from devstack.errors import StackError
from devstack.paths import StackPaths

_HOLD = 'mount -t tmpfs -o "size=$1m,mode=0700" tmpfs "$2" && mkdir "$2/objects" && echo mounted && exec cat'
_STEP_BYTES = 16 * 1024 * 1024
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--")


@cache
def unavailable() -> str | None:
    """Why there can be no such disk here."""
    if sys.platform != "linux":
        return f"{sys.platform} has no mount namespaces"
    if shutil.which("unshare") is None:
        return "there is no `unshare`"
    tried = subprocess.run([*_UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    return None if tried.returncode == 0 else f"no mount in a user namespace: {tried.stderr.decode().strip()}"


@asynccontextmanager
async def small_disk(paths: StackPaths, mib: int) -> AsyncIterator[None]:
    """Put the object store of a stack that has not started yet on a disk of `mib`; plain folder where it cannot be.

    *Raises* `StackError` where the store has objects already.
    """
    if unavailable():
        yield
        return
    objects, mount = _objects(paths), paths.of("small-disk")
    if objects.exists() and not objects.is_symlink():
        raise StackError(f"{objects} is there already: a small disk is for a new stack")
    for folder in (objects.parent, mount):
        folder.mkdir(parents=True, exist_ok=True)
    holder = await asyncio.create_subprocess_exec(
        *(*_UNSHARE, "sh", "-c", _HOLD, "sh", str(mib), str(mount)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        if holder.stdout is None or await holder.stdout.readline() != b"mounted\n":
            raise StackError("the small disk for the object store could not be mounted")
        objects.unlink(missing_ok=True)
        objects.symlink_to(f"/proc/{holder.pid}/root{mount}/objects")
        yield
    finally:
        if holder.stdin is not None:
            holder.stdin.close()
        await holder.wait()
        objects.unlink(missing_ok=True)


class Ballast:
    """A file beside the objects that leaves `free_bytes` of their disk."""

    def __init__(self, paths: StackPaths) -> None:
        objects = _objects(paths)
        self._file = Path(os.readlink(objects)).parent / "ballast" if objects.is_symlink() else None

    @property
    def possible(self) -> bool:
        return self._file is not None

    def fill(self, free_bytes: int) -> int:
        """Returns what is left, which others may have made less. *Raises* `OSError` other than a full disk."""
        with self._mounted().open("wb") as ballast:
            step = _STEP_BYTES
            while step and (excess := _free_bytes(ballast) - free_bytes) > 0:
                try:
                    os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, min(step, excess))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 2  # somebody wrote between the question and the request
            return _free_bytes(ballast)

    def drop(self) -> None:
        with suppress(FileNotFoundError):
            self._mounted().unlink()

    def _mounted(self) -> Path:
        if self._file is None:
            raise FileNotFoundError("the object store has no disk of its own")
        return self._file


def _free_bytes(file: IO[bytes]) -> int:
    disk = os.fstatvfs(file.fileno())
    return disk.f_bavail * disk.f_frsize


def _objects(paths: StackPaths) -> Path:
    return paths.of("s3proxy") / "objects"
