"""The channels and who watches them: commits in, frames out. Knows the state store, but no sockets."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from dataforge.corrections import OVERLAY
from dataforge.errors import Transient
from dataforge.kpi.catalogue import Selection
from dataforge.runtime import metrics
from dataforge.state.model import FeedEntry, PartitionRead
from dataforge.state.store import Named, StateReader

from ws_gateway import broadcast, protocol
from ws_gateway.arrivals import Arrivals, First, Lost
from ws_gateway.channel import Change, Channel, view_floor_ms
from ws_gateway.partition import Disconnected
from ws_gateway.place import CORRECTIONS, Token, source_of

logger = logging.getLogger(__name__)

_FOREVER_MS = 2**53
_MAX_TRACES = 32
"""Traced events that get a push span, per channel and frame."""
_REST = 3
"""A channel rests this many times as long as its last frame took to make: no channel can take the loop."""


class Watcher(broadcast.Watcher, Protocol):
    def begin(self, channel: Channel, first: First, resync: str | None = None) -> None:
        """Send this first, `resync` with its reason before it. Pushes before it are for others."""
        ...


PushTrace = Callable[[Sequence[str], Channel], None]
"""Records that events with these traceparents were pushed."""


@dataclass(slots=True, eq=False)
class _Live:
    """A channel that is open: its watchers, and its place in time."""

    channel: Channel
    arrivals: Arrivals
    watchers: dict[Watcher, Token | None] = field(default_factory=dict)
    """With what each came; None without a token, or once it has begun."""
    resuming: dict[Watcher, asyncio.Task[None]] = field(default_factory=dict)
    """Whose first frame is being worked out; it may take until the store answers again."""
    held: list[tuple[int, Sequence[FeedEntry]]] | None = None
    """Commits that came while a snapshot was being read; None where none is."""
    again: bool = False
    """To be read (again): all partitions, because what one took back can move the view of all."""
    loading: asyncio.Task[None] | None = None
    ready: bool = False
    touched: bool = False
    timer: asyncio.TimerHandle | None = None
    rest_until_s: float = 0
    sent_s: float = 0
    traces: list[str] = field(default_factory=list)


class Hub:
    def __init__(
        self,
        state: StateReader,
        *,
        conflate_s: float = 0.02,
        heartbeat_s: float = 5.0,
        max_channels: int = 1_000,
        numbers: Iterator[int] | None = None,
        push_trace: PushTrace = lambda _traces, _channel: None,
    ) -> None:
        self._state = state
        self._conflate_s = conflate_s
        self._heartbeat_s = heartbeat_s
        self._max_channels = max_channels
        self._push_trace = push_trace
        self._open: dict[Any, _Live] = {}
        self._by_name: dict[str, list[_Live]] = {}
        self._numbers = numbers or count(1)
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises what no channel knows how to survive; the process must not go on as if nothing happened."""

    # ---- watchers
    def watch(self, selection: Selection, limit: int, watcher: Watcher, since: Token | None = None) -> Channel:
        """Open, or join, the channel of a selection. `watcher.begin` follows, after this call has returned: with
        a snapshot, or with what was missed `since`.

        *Raises* `ProtocolError` too_many_channels.
        """
        key = (selection.key, limit)
        found = self._open.get(key)
        if found is None:
            if len(self._open) >= self._max_channels:
                raise protocol.too_many_channels(self._max_channels)
            channel = Channel(selection, next(self._numbers), limit)
            found = self._open[key] = _Live(channel, Arrivals(self._state, channel))
            self._by_name.setdefault(selection.name, []).append(found)
            self._reload(found)
            metrics.WS_CHANNELS.set(len(self._open))
        found.watchers[watcher] = since
        if found.ready:
            asyncio.get_running_loop().call_soon(self._begin, found, watcher)
        return found.channel

    def _begin(self, one: _Live, watcher: Watcher) -> None:
        if watcher not in one.watchers:
            return
        if (since := one.watchers[watcher]) is None:
            watcher.begin(one.channel, one.arrivals.snapshot())
            return
        task = asyncio.create_task(self._resume(one, watcher, since), name=f"resume on channel {one.channel.number}")
        one.resuming[watcher] = task
        task.add_done_callback(lambda _: one.resuming.pop(watcher, None))
        task.add_done_callback(self._check)

    @staticmethod
    async def _resume(one: _Live, watcher: Watcher, since: Token) -> None:
        resync = None
        try:
            first = await one.arrivals.since(since)
        except Lost as lost:
            first, resync = one.arrivals.snapshot(), lost.reason
        if watcher in one.watchers:
            metrics.WS_RESUMES.labels(resync or "resumed").inc()
            watcher.begin(one.channel, first, resync)

    def leave(self, channel: Channel, watcher: Watcher) -> None:
        """Stop watching; the last one out closes the channel."""
        key = (channel.selection.key, channel.limit)
        found = self._open.get(key)
        if found is None or found.channel is not channel:
            return
        found.watchers.pop(watcher, None)
        if (resuming := found.resuming.pop(watcher, None)) is not None:
            resuming.cancel()
        if not found.watchers:
            del self._open[key]
            self._by_name[channel.selection.name].remove(found)
            for pending in (found.loading, found.timer):
                if pending is not None:
                    pending.cancel()
            metrics.WS_CHANNELS.set(len(self._open))

    # ---- the feed (feed.Listener)
    def _showing(self, named: Named) -> tuple[list[_Live], int]:
        """The channels that a partition is part of, and what they call it. Corrections are part of all."""
        if named == OVERLAY:
            return list(self._open.values()), CORRECTIONS
        return list(self._by_name.get(named[0], ())), named[1]

    def committed(self, named: Named, commit: Sequence[FeedEntry]) -> None:
        channels, partition = self._showing(named)
        traces = [trace for entry in commit for trace in entry.trace]
        for one in channels:
            one.traces = (one.traces + traces)[:_MAX_TRACES]
            if one.held is not None:
                one.held.append((partition, commit))
            else:
                self._apply(one, partition, commit)

    def broken(self, named: Named) -> None:
        channels, _ = self._showing(named)
        for one in channels:
            self._reload(one)

    def head(self, named: Named, cursor: str) -> None:
        """A channel that is ahead of the store shows what was taken back, however its feed goes on: read it again."""
        channels, partition = self._showing(named)
        for one in channels:
            one.arrivals.head(partition, cursor)
            if one.held is None and one.channel.partitions[partition].is_ahead_of(cursor):
                logger.info("channel %d is ahead of %s/%d: read again", one.channel.number, *named)
                self._reload(one)

    def settled(self) -> None:
        for one in list(self._open.values()):
            if one.touched:
                self._schedule(one)

    def _apply(self, one: _Live, partition: int, commit: Sequence[FeedEntry]) -> None:
        try:
            one.touched |= one.channel.apply(partition, commit)
        except Disconnected as error:
            logger.info("channel %d reads again: %s", one.channel.number, error)
            self._reload(one)

    # ---- snapshots
    def _reload(self, one: _Live) -> None:
        if one.ready and not one.again:
            metrics.WS_RESYNCS.labels(one.channel.selection.name).inc()
        one.again = True
        if one.loading is None:
            one.held = one.held or []
            one.loading = asyncio.create_task(self._load(one), name=f"load channel {one.channel.number}")
            one.loading.add_done_callback(self._check)

    def _check(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)

    async def _load(self, one: _Live) -> None:
        """Read everything, then apply what came meanwhile; again while that does not connect."""
        wait_s = 0.05
        while one.again:
            one.again = False
            try:
                one.channel.load(await self._read(one.channel))
            except Transient as error:
                logger.warning("channel %d cannot be read: %s", one.channel.number, error)
                one.again = True
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, 2.0)
                continue
            held, one.held = one.held or [], []
            for partition, commit in held:
                if not one.again:
                    self._apply(one, partition, commit)
        one.held, one.loading = None, None
        if one.ready:
            self._flush(one)
        else:
            one.ready, one.touched = True, False
            one.channel.advance()
            one.sent_s = asyncio.get_running_loop().time()
            for watcher in list(one.watchers):
                self._begin(one, watcher)

    async def _read(self, channel: Channel) -> list[PartitionRead]:
        selection, partitions = channel.selection, list(channel.partitions)
        reads = await asyncio.gather(*(self._state.head(*source_of(selection.name, p)) for p in partitions))
        start_ms = _FOREVER_MS
        # A store that is rolled back meanwhile has an older view: look again.
        while (needed_ms := view_floor_ms(selection, max(r.watermark for r in reads), channel.limit)) < start_ms:
            start_ms = needed_ms
            step_ms = selection.step_ms
            wanted: list[Awaitable[PartitionRead]] = [
                self._state.read(*source_of(selection.name, p), channel.table_in(p), step_ms, start_ms, _FOREVER_MS)
                for p in partitions
            ]
            reads = await asyncio.gather(*wanted)
        return [read._replace(partition=p) for p, read in zip(partitions, reads, strict=True)]

    # ---- frames
    def _schedule(self, one: _Live) -> None:
        """Push now, or as soon as the channel has rested: what comes meanwhile goes into the same frame."""
        if one.timer is not None or not one.ready or one.held is not None:
            return
        wait_s = one.rest_until_s - asyncio.get_running_loop().time()
        if wait_s <= 0:
            self._flush(one)
        else:
            one.timer = asyncio.get_running_loop().call_later(wait_s, self._flush_later, one)

    def _flush(self, one: _Live) -> None:
        now = asyncio.get_running_loop().time
        if one.timer is not None:
            one.timer.cancel()
        one.timer, one.touched = None, False
        if one.held is not None:
            return  # a snapshot is being read; its end flushes
        began_s = now()
        channel = one.channel
        change = channel.advance()
        kind, frame = channel.frame(change)
        broadcast.broadcast(one.watchers, channel, kind, frame, change)
        if one.traces:
            self._push_trace(one.traces, channel)
            one.traces = []
        one.sent_s = now()
        one.rest_until_s = began_s + max(self._conflate_s, _REST * (one.sent_s - began_s))

    def _flush_later(self, one: _Live) -> None:
        try:
            self._flush(one)
        except Exception as error:  # noqa: BLE001 - a timer has nobody to raise to
            if not self.failed.done():
                self.failed.set_exception(error)

    def beat(self) -> None:
        """Send a heartbeat on every channel that has been silent for `heartbeat_s`. Call it often."""
        now_s = asyncio.get_running_loop().time()
        for one in list(self._open.values()):
            if one.ready and one.held is None and now_s - one.sent_s >= self._heartbeat_s:
                one.sent_s = now_s
                frame = protocol.heartbeat(one.channel.number, one.channel.place)
                broadcast.broadcast(one.watchers, one.channel, "heartbeat", frame, Change())
