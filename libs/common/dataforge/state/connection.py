"""Connections to the state store that say when a request was not sent, and write one quickly."""

from collections.abc import Iterable
from typing import Any

import hiredis
from redis.asyncio import Connection, ConnectionPool, SSLConnection
from redis.exceptions import ConnectionError, DataError

_hiredis: Any = hiredis  # its stubs say that commands have one word
_packed = _hiredis.pack_command


class NotSent(ConnectionError):
    """Nothing of the request was written: whatever it asked for did not happen."""


class _Telling(Connection):
    """uvloop refuses to write to a connection that was reset, by a RuntimeError, which the client does not expect."""

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise NotSent(f"the connection was reset before the request: {error}") from error

    def pack_command(self, *args: Any) -> list[bytes]:
        """In C, as the blocking client does: in Python a commit's thousands of arguments take milliseconds."""
        name, *others = args
        words = name.encode().split() if isinstance(name, str) else name.split()
        try:
            return [_packed((*words, *others))]
        except TypeError as error:
            raise DataError(f"an argument of {words} is neither text nor a number: {error}") from error


class _TellingTls(_Telling, SSLConnection):
    pass


def pool(url: str, **options: Any) -> ConnectionPool:
    """*Raises* ValueError where the address is none."""
    made = ConnectionPool.from_url(url, **options)
    if issubclass(made.connection_class, SSLConnection):
        made.connection_class = _TellingTls
    elif issubclass(made.connection_class, Connection):
        made.connection_class = _Telling
    return made
