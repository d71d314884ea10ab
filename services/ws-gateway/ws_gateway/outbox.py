"""What goes out to one client, and how much of it may wait."""

import asyncio
import time
from typing import cast

from picows import WSCloseCode, WSMsgType, WSTransport

from dataforge.runtime import metrics

from ws_gateway import protocol
from ws_gateway.protocol import CloseCode, ProtocolError, ServerMessage
from ws_gateway.settings import Limits

_REPLIES_BYTES = 64 * 1024
_TEXT = WSMsgType.TEXT


class Outbox:
    """*Guarantees*: never more unsent bytes than `write_buffer_bytes`, one frame, and 64 KiB of replies."""

    __slots__ = ("_limits", "_replies_bytes", "_transport", "closing", "slow", "slow_since_s")

    def __init__(self, transport: WSTransport, limits: Limits) -> None:
        self._transport = transport
        self._limits = limits
        self._replies_bytes = 0
        self.slow = False
        self.slow_since_s: float | None = None
        """Monotonic time since when the write buffer is over its limit."""
        self.closing = False
        high = limits.write_buffer_bytes
        transport.underlying_transport.set_write_buffer_limits(high=high, low=high // 4)

    def paused(self) -> None:
        self.slow, self.slow_since_s = True, time.monotonic()

    def resumed(self) -> None:
        self.slow, self.slow_since_s, self._replies_bytes = False, None, 0

    def send(self, frame: bytes) -> bool:
        """Send a channel's frame; False where the client is leaving. The caller has looked at `slow`, and counts."""
        if self.closing:
            return False
        self._transport.send(_TEXT, frame)
        return True

    def reply(self, message: ServerMessage) -> None:
        """Send an answer, also to a slow client; one that asks on and on without reading is closed."""
        if self.closing:
            return
        frame = protocol.encode(message)
        if self.slow:
            self._replies_bytes += len(frame)
            if self._replies_bytes > _REPLIES_BYTES:
                self.close(CloseCode.TOO_MUCH, "answers are not read")
                return
        self._transport.send(_TEXT, frame)
        metrics.WS_FRAMES.labels(frame_kind(message)).inc()

    def fail(self, error: ProtocolError) -> None:
        """Tell the client what was wrong, and close where the error says so."""
        self.reply(protocol.error_of(error))
        if error.close is not None:
            self.close(error.close, error.message)

    def ping(self) -> None:
        if not self.closing:
            self._transport.send_ping()

    def close(self, code: CloseCode, reason: str) -> None:
        """Say why, and cut the connection if the client has not closed it soon after."""
        if self.closing:
            return
        self.closing = True
        metrics.WS_CLOSED.labels(str(int(code))).inc()
        # A close frame has room for 125 bytes: 2 of code, the rest of reason.
        short = reason.encode()[:120].decode(errors="ignore")
        self._transport.send_close(cast("WSCloseCode", int(code)), short.encode())
        asyncio.get_running_loop().call_later(self._limits.close_s, self._transport.disconnect, False)

    def closed_by_client(self) -> None:
        self.closing = True
        self._transport.send_close(cast("WSCloseCode", 1000))
        self._transport.disconnect()


def frame_kind(message: ServerMessage) -> str:
    return str(type(message).__struct_config__.tag)
