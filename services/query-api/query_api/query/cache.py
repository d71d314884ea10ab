"""Answers that are kept, and made once at a time, in a Redis of their own: never in the one that holds the state."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, Protocol

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from dataforge.state.connection import pool

logger = logging.getLogger(__name__)

Make = Callable[[], Awaitable[bytes]]
_PREFIX = "df:query:"
_ANSWER_S, _REST_S = 0.25, 5.0
"""How long a cache may take to answer, and how long it is left alone once it did not."""
_SOON_S, _LATER_S = 0.01, 0.1
_EXTEND = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) else return 0 end"
)
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end"


class Kept(NamedTuple):
    body: bytes
    cached: bool
    """Somebody else made it."""


class Cache(Protocol):
    async def once(self, key: str, make: Make) -> Kept:
        """What is kept under the key, else what `make` makes. *Raises* what `make` does."""
        ...

    async def close(self) -> None: ...


class NoCache:
    """Everything is made."""

    async def once(self, key: str, make: Make) -> Kept:
        del key
        return Kept(await make(), cached=False)

    async def close(self) -> None:
        """Nothing is open."""


class RedisCache:
    """*Guarantees*: of all processes that ask for a key, one makes it and the others wait for it, for `patience_s` at
    most; one that died while it made it holds the others up for `lease_s`. A cache that is away, or full, costs
    nothing but the cache: everybody makes.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl_s: int,
        most_bytes: int,
        patience_s: float,
        lease_s: float = 2.0,
        rest_s: float = _REST_S,
        answer_s: float = _ANSWER_S,
    ) -> None:
        connections = pool(url, socket_timeout=answer_s, socket_connect_timeout=answer_s, retry=Retry(NoBackoff(), 0))
        self._redis: Any = Redis.from_pool(connections)
        self._answer_s = answer_s
        self._ttl_s, self._most_bytes, self._patience_s = ttl_s, most_bytes, patience_s
        self._lease_ms, self._rest_s = int(lease_s * 1000), rest_s
        self._away_until_s = 0.0

    async def once(self, key: str, make: Make) -> Kept:
        until_s, pause_s = time.monotonic() + self._patience_s, _SOON_S
        token = secrets.token_hex(16)
        while True:
            found, ours = await self._found_or_claimed(_PREFIX + key, token)
            if found is not None:
                return Kept(found, cached=True)
            if ours:
                async with self._held(_PREFIX + key, token):
                    return await self._made(_PREFIX + key, make)
            if time.monotonic() > until_s or self._resting:
                return Kept(await make(), cached=False)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LATER_S)

    async def close(self) -> None:
        await self._redis.aclose()

    @property
    def _resting(self) -> bool:
        return time.monotonic() < self._away_until_s

    async def _found_or_claimed(self, key: str, token: str) -> tuple[bytes | None, bool]:
        """What is kept; or whether it is now ours to make."""
        found = await self._asked(self._redis.get, key)
        if found is not None:
            return found, False
        claimed = await self._asked(self._redis.set, f"{key}:lock", token, nx=True, px=self._lease_ms)
        if not claimed:
            return None, False
        found = await self._asked(self._redis.get, key)  # whoever made it may have ended between our two questions
        if found is not None:
            await self._asked(self._redis.eval, _RELEASE, 1, f"{key}:lock", token)
        return found, found is None

    async def _made(self, key: str, make: Make) -> Kept:
        body = await make()
        if len(body) <= self._most_bytes:
            await self._asked(self._redis.set, key, body, ex=self._ttl_s)
        return Kept(body, cached=False)

    @asynccontextmanager
    async def _held(self, key: str, token: str) -> AsyncIterator[None]:
        """The claim is renewed for as long as this lasts, and given up at its end."""
        renewing = asyncio.create_task(self._renew(f"{key}:lock", token))
        try:
            yield
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing
            await self._asked(self._redis.eval, _RELEASE, 1, f"{key}:lock", token)

    async def _renew(self, lock: str, token: str) -> None:
        while True:
            await asyncio.sleep(self._lease_ms / 3000)
            await self._asked(self._redis.eval, _EXTEND, 1, lock, token, self._lease_ms)

    async def _asked(self, ask: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Any:
        """Its answer; None where there is none."""
        if self._resting:
            return None
        try:
            async with asyncio.timeout(2 * self._answer_s):
                return await ask(*arguments, **options)
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until_s = time.monotonic() + self._rest_s
            logger.warning("the cache does not answer, and is left alone for %g s: %s", self._rest_s, error)
            return None
