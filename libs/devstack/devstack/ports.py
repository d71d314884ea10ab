"""TCP ports for a stack: the usual ones where they are free, others where they are not.

A port is claimed by a lock file for as long as its stack lives, so two stacks that start at the same moment do
not choose the same one, and a server that is down for a moment keeps its own. Free ports are taken below the
kernel's range for outgoing connections: a client that retries against a closed port of that range can connect
to itself and keep the server from coming back.
"""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from devstack.errors import StackError

_FREE_PORTS = range(20_000, 32_000)
_TRIES = 200


class PortClaims:
    """The ports of one stack. *Guarantees*: claimed until `release` or the end of the process."""

    def __init__(self) -> None:
        self._held: dict[int, IO[str]] = {}
        self._names: dict[str, int] = {}

    def names(self) -> dict[str, int]:
        """What is claimed: name -> port."""
        return dict(self._names)

    def claim(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """One port per name: the wanted one where it can be had; 0 means any. *Raises* `StackError`."""
        taken = {name: self._claim(name, port) for name, port in wanted.items()}
        self._names |= taken
        return taken

    def _claim(self, name: str, wanted: int) -> int:
        for port in _candidates(wanted):
            if self._try(port):
                return port
        raise StackError(f"no free TCP port found for {name}: close programs that listen on 127.0.0.1")

    def _try(self, port: int) -> bool:
        if port in self._held:
            return False
        handle = (_lock_folder() / str(port)).open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return False
        if not is_free(port):
            handle.close()
            return False
        self._held[port] = handle
        return True

    def release(self) -> None:
        for handle in self._held.values():
            handle.close()
        self._held.clear()
        self._names.clear()


def is_free(port: int) -> bool:
    """True where nobody listens on the port, neither on loopback nor on every interface."""
    for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - asked, closed at once
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def _candidates(wanted: int) -> Iterator[int]:
    if wanted:
        yield wanted
    for _ in range(_TRIES):
        yield random.choice(_FREE_PORTS)


def _lock_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"dataforge-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
