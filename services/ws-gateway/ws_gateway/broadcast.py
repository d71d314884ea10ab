"""One frame to everyone who watches a channel."""

from collections.abc import Iterable
from typing import Protocol

from dataforge.runtime import metrics

from ws_gateway.channel import Change
from ws_gateway.subscription import Shown


class Watcher(Protocol):
    def push(self, channel: Shown, frame: bytes, change: Change) -> bool:
        """Send the frame, or remember the change: never block, never raise. True where it was sent."""
        ...


def broadcast(watchers: Iterable[Watcher], channel: Shown, kind: str, frame: bytes, change: Change) -> None:
    """Counted once: asking the metric for its label takes as long as half a send."""
    sent = 0
    for watcher in list(watchers):
        sent += watcher.push(channel, frame, change)
    metrics.WS_FRAMES.labels(kind).inc(sent)
