"""The state in Redis or Valkey. *Source*: docs/specs/state.md; the atomic part is functions.lua."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from importlib.resources import files
from typing import Any, cast
from zlib import crc32

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from dataforge.errors import Fatal, Superseded, Transient
from dataforge.state.connection import NotSent, pool
from dataforge.state.feed_cap import FeedCap
from dataforge.state.model import Commit, FeedEntry, Loaded, PartitionRead, Settlement
from dataforge.state.store import Keys, Named, TooMany

_TEXT = files("dataforge.state").joinpath("functions.lua").read_text()
_VERSION = f"{crc32(_TEXT.encode()):08x}"
"""Part of the functions' names: services of two releases, side by side, each call their own."""
_FUNCTIONS = _TEXT.replace("@VERSION@", _VERSION)
_unpack = msgspec.msgpack.decode
FEED_PAGE = 200
"""Entries of one `feed_range`."""


class _Payload(msgspec.Struct):
    next: int
    watermark: int
    position: int
    rows: dict[str, dict[str, list[Any]]]
    gone: list[str]
    trace: list[str] = []
    at: int = 0


_payload = msgspec.msgpack.Decoder(_Payload)


class RedisState:
    """Reader and writer. Loads the functions by itself where the server has not got them."""

    def __init__(
        self, url: str, *, feed_cap: int = 5_000, feed_bytes: int = 32 * 1024 * 1024, timeout_s: float = 5.0
    ) -> None:
        """`feed_cap` commits and about `feed_bytes` are kept of a partition's feed."""
        connections = pool(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),  # a commit is sent once; whoever may repeat a call does so himself
        )
        self._redis = Redis.from_pool(connections)
        self._feed_cap = FeedCap(feed_cap, feed_bytes)

    async def close(self) -> None:
        await self._redis.aclose()

    async def ping(self) -> None:
        """*Raises* `Transient` where the server does not answer."""
        with _may_be_repeated():
            await cast("Awaitable[bool]", self._redis.ping())

    async def _call(self, function: str, keys: Iterable[str], *args: str | bytes | int, write: bool = True) -> Any:
        keys, function = tuple(keys), f"{function}_{_VERSION}"
        call = self._redis.fcall if write else self._redis.fcall_ro
        try:
            return await cast("Awaitable[Any]", call(function, len(keys), *keys, *cast("tuple[str, ...]", args)))
        except ResponseError as error:
            if "Function not found" not in str(error):
                raise
        await cast("Awaitable[str]", self._redis.function_load(_FUNCTIONS, replace=True))
        return await cast("Awaitable[Any]", call(function, len(keys), *keys, *cast("tuple[str, ...]", args)))

    # ---- writer
    async def claim(self, name: str, partition: int, token: str) -> None:
        with _may_be_repeated():
            await self._call("df_claim", (Keys.of(name, partition).meta,), token)

    async def owner(self, name: str, partition: int) -> tuple[str, int]:
        meta = Keys.of(name, partition).meta
        with _may_be_repeated():
            claim, position = await cast(
                "Awaitable[list[bytes | None]]", self._redis.hmget(meta, ["claim", "position"])
            )
        return (claim or b"").decode(), int(position or 0)

    async def load(self, name: str, partition: int, lateness_ms: int) -> Loaded:
        with _may_be_repeated():
            return await self._load(name, partition, lateness_ms)

    async def _load(self, name: str, partition: int, lateness_ms: int) -> Loaded:
        keys = Keys.of(name, partition)
        # No MULTI, which a full Redis 7 refuses: whoever claimed the partition is alone in writing it. Where another
        # has claimed it meanwhile, this may be a mixture, and nothing that is made of it will be taken.
        pipe = self._redis.pipeline(transaction=False)
        pipe.hgetall(keys.meta)
        pipe.zrange(keys.idx, 0, -1, withscores=True)
        pipe.hgetall(keys.ids)
        pipe.hgetall(keys.ledger)
        meta, idx, ids, ledger = await pipe.execute()
        expiries = {member.decode(): int(end) for member, end in idx}
        watermark = int(meta.get(b"watermark", 0))
        still_open = [key for key, end in expiries.items() if end + lateness_ms > watermark]
        pipe = self._redis.pipeline(transaction=False)
        for key in still_open:
            pipe.hgetall(keys.windows + key)
        rows = await pipe.execute() if still_open else []
        return Loaded(
            {k.decode(): v.decode() for k, v in meta.items()},
            {key: _rows(found) for key, found in zip(still_open, rows, strict=True)},
            expiries,
            {k.decode(): _unpack(v) for k, v in ids.items()},
            {int(k): _unpack(v) for k, v in ledger.items()},
        )

    async def commit(self, name: str, partition: int, commit: Commit) -> None:
        keys = Keys.of(name, partition)
        arguments = _arguments(commit, self._feed_cap.added((name, partition), sum(map(len, commit.feed))))
        try:
            try:
                answer = await self._call("df_commit", keys, *arguments)
            except OutOfMemoryError:  # refused as a whole, before its first write
                answer = await self._call("df_commit_freeing", keys, *arguments)
        except (NotSent, BusyLoadingError, ReadOnlyError) as error:  # not sent, or refused as a whole
            raise _away(error) from error
        except RedisError as error:
            raise Fatal(f"the outcome of a commit to {keys.meta} is unknown: {error}") from error
        if answer[0] == b"full":
            raise _full()
        _demand_ok(answer, keys, commit.claim, commit.previous)

    async def settle(self, name: str, partition: int, settlement: Settlement) -> None:
        keys, (claim, position, floor, data) = Keys.of(name, partition), astuple(settlement)
        with _may_be_repeated():
            cap = self._feed_cap.of((name, partition))
            answer = await self._call("df_settle", (keys.meta, keys.feed), claim, position, floor, cap, data)
        _demand_ok(answer, keys, claim, position)

    async def watermarks(self, name: str, partitions: Sequence[int]) -> list[int]:
        pipe = self._redis.pipeline(transaction=False)
        for partition in partitions:
            pipe.hget(Keys.of(name, partition).meta, "watermark")
        with _may_be_repeated():
            return [int(found or 0) for found in await pipe.execute()]

    # ---- reader
    async def read(
        self, name: str, partition: int, table: str, size_ms: int, start_ms: int, end_ms: int, most: int | None = None
    ) -> PartitionRead:
        return await self._read(name, partition, table, size_ms, start_ms, end_ms, *([] if most is None else [most]))

    async def head(self, name: str, partition: int) -> PartitionRead:
        return await self._read(name, partition)

    async def _read(self, name: str, partition: int, *args: str | int) -> PartitionRead:
        keys = Keys.of(name, partition)
        position, following, watermark, floor, feed, found, *many = await self._reading(
            lambda: self._call("df_read", (keys.meta, keys.idx, keys.windows), *args, write=False)
        )
        if many:
            raise TooMany(f"{keys.meta}: more than {args[-1]} windows end in that span")
        windows = {
            int(start): _rows(dict(zip(flat[::2], flat[1::2], strict=True)))
            for start, flat in zip(found[::2], found[1::2], strict=True)
        }
        feed_id, _, claim = feed.decode().partition(" ")
        return PartitionRead(
            partition, int(position), int(following), int(watermark), feed_id, claim, windows, int(floor)
        )

    async def _reading(self, ask: Callable[[], Any]) -> Any:
        """Ask, and once more where the connection had ended: then all that lie idle are as old, and go."""
        with _changes_nothing():
            try:
                return await ask()
            except ConnectionError:
                await self._redis.connection_pool.disconnect(inuse_connections=False)
                return await ask()

    async def feed(self, cursors: Mapping[Named, str], block_ms: int) -> list[tuple[Named, list[FeedEntry]]]:
        """One XREAD over all partitions; they must live on one node (use one reader per node on a cluster)."""
        streams = {Keys.of(*named).feed: named for named in cursors}
        with _changes_nothing():
            found = await cast(
                "Awaitable[Any]",
                self._redis.xread({k: cursors[named] for k, named in streams.items()}, count=500, block=block_ms),
            )
        return [
            (streams[key.decode()], [_entry(streams[key.decode()][1], *entry) for entry in entries])
            for key, entries in found or ()
        ]

    async def feed_range(self, name: str, partition: int, after_id: str, up_to_id: str) -> list[FeedEntry]:
        feed, after, up_to = Keys.of(name, partition).feed, f"({after_id or '0-0'}", up_to_id or "0-0"
        found = await self._reading(lambda: self._redis.xrange(feed, min=after, max=up_to, count=FEED_PAGE))
        return [_entry(partition, *entry) for entry in found]

    async def ledger(self, name: str, partition: int) -> dict[int, dict[str, Any]]:
        ledger = Keys.of(name, partition).ledger
        found: dict[bytes, bytes] = await self._reading(lambda: self._redis.hgetall(ledger))
        return {int(k): _unpack(v) for k, v in found.items()}


@contextmanager
def _may_be_repeated() -> Iterator[None]:
    """Around calls that are harmless to repeat: that the server is away, or full, is `Transient`."""
    try:
        yield
    except OutOfMemoryError as error:
        raise _full() from error
    except (ConnectionError, TimeoutError, ReadOnlyError, OSError) as error:
        raise _away(error) from error


@contextmanager
def _changes_nothing() -> Iterator[None]:
    """Around calls that only read: whatever the server says instead of an answer is `Transient`."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise _away(error) from error


def _demand_ok(answer: Sequence[bytes], keys: Keys, claim: str, position: int) -> None:
    if answer[0] != b"OK":
        raise Superseded(
            f"{keys.meta}: refused at {position}; the store has position {answer[2].decode()}"
            f" under {'the same' if answer[1].decode() == claim else 'another'} claim"
        )


def _away(error: Exception) -> Transient:
    return Transient(f"the state store does not answer: {error}")


def _full() -> Transient:
    return Transient("the state store is out of memory: raise maxmemory, or shorten ttl", 2.0)


def _rows(found: Mapping[bytes, bytes]) -> dict[str, list[Any]]:
    return {label.decode(): _unpack(row) for label, row in found.items()}


def _entry(partition: int, entry_id: bytes, fields: Mapping[bytes, bytes]) -> FeedEntry:
    p = _payload.decode(fields[b"d"])
    return FeedEntry(
        partition,
        entry_id.decode(),
        fields[b"claim"].decode(),
        fields[b"prev"].decode(),
        fields[b"last"] == b"1",
        p.next,
        p.watermark,
        p.position,
        p.rows,
        p.gone,
        p.trace,
        p.at,
        int(fields.get(b"floor", 0)),  # an entry of the release before has none
    )


def _arguments(commit: Commit, feed_cap: int) -> list[str | bytes | int]:
    """The flat argument list that functions.lua reads, section by section."""
    args: list[str | bytes | int] = [commit.claim, commit.previous, commit.position, feed_cap]

    def pairs(items: Mapping[Any, str | bytes]) -> None:
        args.append(len(items))
        for key, value in items.items():
            args.extend((key, value))

    def singles(items: tuple[Any, ...]) -> None:
        args.append(len(items))
        args.extend(items)

    singles(commit.feed)
    pairs(commit.meta)
    pairs(commit.ids)
    singles(commit.ids_gone)
    pairs(commit.ledger)
    singles(commit.ledger_gone)
    args.append(len(commit.windows))
    for key, rows in commit.windows.items():
        args.extend((key, commit.ends[key]))
        pairs(rows)
    singles(commit.gone)
    return args
