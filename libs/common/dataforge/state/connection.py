"""Connections to the state store that say when a request was not sent, write one quickly, and can be cancelled."""

import asyncio
from collections.abc import Iterable
from typing import Any

import hiredis
from redis.asyncio import Connection, ConnectionPool, SSLConnection
from redis.exceptions import AuthenticationError, ConnectionError, DataError
from redis.exceptions import TimeoutError as RedisTimeoutError

_hiredis: Any = hiredis  # its stubs say that commands have one word
_packed = _hiredis.pack_command


class NotSent(ConnectionError):
    """Nothing of the request was written: whatever it asked for did not happen."""


class _Telling(Connection):
    """Sends by itself: the client's own way takes a task for each command, and before Python 3.12 it can lose the
    cancellation of whoever sends (`asyncio.wait_for`), so that a service is asked to stop and does not.
    """

    async def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """A connection is made before a request goes over it."""
        try:
            await super().connect_check_health(*args, **kwargs)
        except AuthenticationError:  # as the server says it: to ask again is of no use
            raise
        except (ConnectionError, RedisTimeoutError) as error:
            raise NotSent(str(error)) from error

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()
        try:
            await self._write(command)
        except BaseException:
            await self.disconnect(nowait=True)  # who knows how much of it was written
            raise

    async def _write(self, command: bytes | str | Iterable[bytes]) -> None:
        """*Source*: redis-py 8.1.0, `AbstractConnection.send_packed_command`."""
        writer: asyncio.StreamWriter = self._writer  # pyright: ignore[reportAssignmentType] - it is connected
        whole = command.encode() if isinstance(command, str) else command
        if writer.is_closing():
            raise NotSent("the connection was reset before the request")
        try:
            writer.writelines([whole] if isinstance(whole, bytes) else whole)
            async with asyncio.timeout(self.socket_timeout):
                await writer.drain()
        except RuntimeError as error:  # uvloop's word for a connection that was reset
            raise NotSent(f"the connection was reset before the request: {error}") from error
        except TimeoutError:
            raise RedisTimeoutError("the store takes no more of a request") from None
        except OSError as error:
            raise ConnectionError(f"the connection was lost while a request was sent: {error}") from error

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
