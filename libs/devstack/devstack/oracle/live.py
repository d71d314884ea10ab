"""A client of the live feed, written against docs/specs/ws.md alone: what a careful program would do.

`Screen` is what it shows: frames in, rows out (pure). `LiveView` keeps a screen up to date over a connection that
may be cut at any moment: it comes back by itself, names the token it holds, and counts how it was answered.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self

import msgspec
from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

Cell = tuple[str, str]
"""(window start, labels as JSON with sorted keys)"""

_SILENT_BEATS = 4
"""A server that lets this many heartbeats pass is as good as gone."""
_REFUSED = (4400, 4401, 4403, 4409)
"""Close codes that coming back does not mend."""
_MAX_FRAME_BYTES = 64 * 1024 * 1024
_decode = msgspec.json.Decoder().decode


class BrokenPromise(Exception):
    """The server sent what docs/specs/ws.md rules out."""


class Refused(Exception):
    """The server does not want this client; coming back does not help."""


class Screen:
    """The rows of one subscription."""

    def __init__(self) -> None:
        self.rows: dict[Cell, dict[str, Any]] = {}
        self.token: str | None = None
        self.next: dict[int, int] = {}
        """Partition -> raw offset below which every record is in `rows`."""
        self.watermark: str | None = None

    def apply(self, frame: Mapping[str, Any]) -> None:
        """Show a snapshot, delta or heartbeat. *Raises* `BrokenPromise` where it cannot follow what is shown."""
        following = {int(p): n for p, n in frame["next"].items()}
        match frame["type"]:
            case "snapshot":
                self.rows = {cell(row): row for row in frame["rows"]}
            case "delta":
                self._follows(following)
                if left := set(frame["gone"]):
                    self.rows = {at: row for at, row in self.rows.items() if at[0] not in left}
                self.rows.update((cell(row), row) for row in frame["rows"])
            case _:
                self._follows(following)
        self.token, self.next, self.watermark = frame["token"], following, frame["watermark"]

    def _follows(self, following: Mapping[int, int]) -> None:
        if self.token is None:
            raise BrokenPromise("a change of rows that were never sent")
        if back := {p: (n, following.get(p)) for p, n in self.next.items() if following.get(p, 0) < n}:
            raise BrokenPromise(f"a change that covers less than what is shown (partition: held, told): {back}")


def cell(row: Mapping[str, Any]) -> Cell:
    return row["start"], msgspec.json.encode(row["labels"], order="sorted").decode()


class LiveView:
    """One subscription, kept through every cut.

        async with LiveView(ws_url, token, domain="retail", metric="revenue", by=["store"]) as view:
            view.cut()
            await view.until(lambda: view.covers(ends), "every record is on the screen")

    *Guarantees*: `rows` are what the server has said, in order; a broken promise ends the client, and is raised
    by `until`.
    """

    def __init__(self, url: str, token: str, *, retry_s: float = 0.05, **question: Any) -> None:
        """`question`: the fields of `subscribe`, without `id` and `since`. `retry_s`: the first pause between tries."""
        self.url = url
        """Where to connect next: may be set to another gateway's at any time."""
        self.screen = Screen()
        self.current = False
        """Connected, and told what was missed."""
        self.cuts = self.connects = self.resumes = self.snapshots = self.deltas = 0
        self.resyncs: Counter[str] = Counter()
        """By reason. Every answer to a token is counted once: in `resumes` or here."""
        self._token = token
        self._question = question
        self._retry_s = retry_s
        self._transport: WSTransport | None = None
        self._welcome = asyncio.Event()
        self._welcome.set()
        self._news = asyncio.Event()
        self._ended: Exception | None = None
        self._task: asyncio.Task[None] | None = None
        self._listener: _Listener | None = None
        self._resuming = self._resynced = self._answered = False
        self._heard_s = 0.0
        self._silence_s = 20.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._stay(), name="live view")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._abort()

    # ---- what it shows
    @property
    def rows(self) -> dict[Cell, dict[str, Any]]:
        return self.screen.rows

    def covers(self, ends: Mapping[int, int]) -> bool:
        """Every record below these raw offsets is on the screen."""
        return self.current and all(self.screen.next.get(p, 0) >= end for p, end in ends.items())

    async def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
        """Wait until it holds; looked at after every frame. *Raises* `TimeoutError`, or why the client ended."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if self._ended is not None:
                raise self._ended
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), max(0.0, deadline_s - time.monotonic()))
            except TimeoutError:
                raise TimeoutError(f"not within {timeout_s} s: {what}; the screen covers {self.screen.next}") from None

    # ---- what a test does to it
    def cut(self, *, stay_away: bool = False) -> None:
        """Abort the TCP connection, with whatever is in flight. It comes back at once, or after `come_back`."""
        self.cuts += 1
        if stay_away:
            self._welcome.clear()
        self._abort()

    def come_back(self) -> None:
        self._welcome.set()

    # ---- the connection
    async def _stay(self) -> None:
        wait_s = self._retry_s
        try:
            while True:
                await self._welcome.wait()
                try:
                    await self._connect()
                except (WSError, OSError, TimeoutError):
                    await asyncio.sleep(wait_s)
                    wait_s = min(2 * wait_s, 1.0)
                    continue
                await self._watch()
                if self._answered:
                    wait_s = self._retry_s
                else:
                    await asyncio.sleep(wait_s)
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            self._ended = error
            self._abort()
            self._news.set()

    async def _connect(self) -> None:
        transport, listener = await ws_connect(
            lambda: _Listener(self._hear), self.url, max_frame_size=_MAX_FRAME_BYTES, logger_name="live"
        )
        if not isinstance(listener, _Listener):
            # Made no listener: no server has answered the handshake, though something took the connection.
            transport.disconnect(graceful=False)
            raise OSError(f"{self.url} did not shake hands")
        self._transport, self._listener, self._heard_s = transport, listener, time.monotonic()
        self.connects += 1
        since = self.screen.token
        self._resuming, self._resynced, self._answered = since is not None, False, False
        self._say(type="auth", token=self._token)
        self._say(type="subscribe", id="live", **self._question, **({"since": since} if since else {}))

    async def _watch(self) -> None:
        """Until the connection ends. *Raises* `Refused`, `BrokenPromise`."""
        if (listener := self._listener) is None:
            return
        while not listener.ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(listener.ended.wait(), 1.0)
            if time.monotonic() - self._heard_s > self._silence_s:
                self._abort()
        self.current = False
        self._news.set()
        if listener.error is not None:
            raise listener.error
        if listener.close_code in _REFUSED:
            raise Refused(f"closed with {listener.close_code}")

    def _hear(self, frame: dict[str, Any]) -> None:
        self._heard_s = time.monotonic()
        match frame["type"]:
            case "ready":
                self._silence_s = max(5.0, _SILENT_BEATS * frame["heartbeat_ms"] / 1000)
            case "resync":
                self.resyncs[frame["reason"]] += 1
                self._resynced = True
            case "snapshot" | "delta" | "heartbeat":
                self._show(frame)
            case "error" if not frame.get("retryable"):
                raise Refused(f"{frame['code']}: {frame['message']} ({frame.get('hint', '')})")
            case "error":
                self._abort()
            case _:
                pass
        self._news.set()

    def _show(self, frame: dict[str, Any]) -> None:
        if self._resynced and not self._answered and frame["type"] != "snapshot":
            raise BrokenPromise(f"a resync was announced, and a {frame['type']} followed")
        self.screen.apply(frame)
        self.snapshots += frame["type"] == "snapshot"
        self.deltas += frame["type"] == "delta"
        if not self._answered:
            self.resumes += self._resuming and not self._resynced
        self.current = self._answered = True

    def _say(self, **message: Any) -> None:
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, msgspec.json.encode(message))

    def _abort(self) -> None:
        self.current = False
        if self._transport is not None and self._listener is not None:
            self._listener.ended.set()
            self._transport.underlying_transport.abort()
            self._transport = None


class _Listener(WSListener):
    """Frames of one connection, until it ends or is cut: what was on its way then is not shown any more."""

    def __init__(self, hear: Callable[[dict[str, Any]], None]) -> None:
        self._hear = hear
        self.ended = asyncio.Event()
        self.close_code = 0
        self.error: Exception | None = None

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self.close_code = int.from_bytes(frame.get_payload_as_bytes()[:2], "big")
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT and self.error is None and not self.ended.is_set():
            try:
                self._hear(_decode(frame.get_payload_as_bytes()))
            except (BrokenPromise, Refused) as error:
                self.error = error
                transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.ended.set()
