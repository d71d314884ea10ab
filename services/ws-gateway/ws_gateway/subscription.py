"""One client's view of one channel: up to date, or owed what changed."""

from typing import Protocol

from dataforge.runtime import metrics

from ws_gateway.arrivals import First
from ws_gateway.backlog import merged
from ws_gateway.channel import Change
from ws_gateway.protocol import Resync, ServerMessage


class Out(Protocol):
    @property
    def slow(self) -> bool: ...
    def send(self, frame: bytes) -> bool: ...
    def reply(self, message: ServerMessage) -> None: ...


class Shown(Protocol):
    """A channel, whatever it shows."""

    number: int

    def frame(self, change: Change) -> tuple[str, bytes]: ...


class Subscription:
    """A `hub.Watcher`. *Guarantees*: the client's rows, once it has read all, are the channel's."""

    __slots__ = ("_begun", "_out", "_owed")

    def __init__(self, out: Out) -> None:
        self._out = out
        self._begun = False
        self._owed: Change | None = None

    def begin(self, channel: Shown, first: First, resync: str | None = None) -> None:
        if self._begun:
            return
        self._begun = True
        if resync is not None:
            self._out.reply(Resync(channel.number, resync))
        if self.push(channel, first.frame, first.change):
            metrics.WS_FRAMES.labels(first.kind).inc()

    def push(self, channel: Shown, frame: bytes, change: Change) -> bool:
        if not self._begun:
            return False  # the first frame will hold it
        if self._owed is None and not self._out.slow:
            return self._out.send(frame)
        metrics.WS_CONFLATED.inc()
        self._owed = merged(self._owed, change) if self._owed else change
        return False

    def catch_up(self, channel: Shown) -> None:
        """Send what is owed, if the client can take it now."""
        if self._owed is not None and not self._out.slow:
            kind, frame = channel.frame(self._owed)
            self._owed = None
            if self._out.send(frame):
                metrics.WS_FRAMES.labels(kind).inc()
