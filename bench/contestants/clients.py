"""WebSocket clients that read what they are sent, and at the end say what that was.

Run as `python clients.py URL CLIENTS STALLED FIRST LAST [MESSAGE …]`. Each says the messages once it is connected. When
each has got `FIRST` frames, `begun` is printed; then `STALLED` of them stop reading. When each of the others has got a
frame that holds the text `LAST` (at once, where it is empty), what they got is printed as JSON, and all leave.
"""

import asyncio
import json
import socket
import sys
import time
from zlib import crc32

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSParsedURL, WSTransport, ws_connect

AT_ONCE = 200
STALLED_BUFFER = 4096
"""Of a stalled client's socket: what the kernel takes for it must not hide that nobody reads."""


class Crowd:
    def __init__(self, clients: int, first: int, last: bytes, messages: list[bytes]) -> None:
        self.first, self.last, self.messages = first, last, messages
        self.beginning = self.ending = clients
        self.begun, self.ended, self.left = asyncio.Event(), asyncio.Event(), False
        self.problem = ""
        self.arrivals: dict[bytes, list[float]] = {}
        """Frame -> when it came, to one client after the other."""
        self.newest, self.times = b"", list[float]()
        self.snapshot = b""
        self.tales: set[tuple[int, int]] = set()
        """How many frames a client got, and their checksum: the same for all."""

    def arrived(self, payload: bytes, now_s: float) -> None:
        """Nearly always the frame that came to the client before: to compare is cheaper than to hash."""
        if payload != self.newest:
            self.newest, self.times = payload, self.arrivals.setdefault(payload, [])
        self.times.append(now_s)

    def cut(self, frames: int) -> None:
        if not self.left:
            self.problem = f"a client was cut off after {frames} frames"
            self.begun.set()
            self.ended.set()

    def has_begun(self) -> None:
        self.beginning -= 1
        if not self.beginning:
            self.begun.set()

    def has_ended(self, frames: int, told: int) -> None:
        self.tales.add((frames, told))
        self.ending -= 1
        if self.ending <= 0:
            self.ended.set()


class Client(WSListener):
    def __init__(self, crowd: Crowd, *, stalls: bool) -> None:
        self.crowd, self.stalls, self.frames, self.told = crowd, stalls, 0, 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        for message in self.crowd.messages:
            transport.send(WSMsgType.TEXT, message)
        if not self.crowd.first:
            self.begin()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.crowd.cut(self.frames)

    def begin(self) -> None:
        self.crowd.has_begun()
        if self.stalls:
            self.transport.underlying_transport.pause_reading()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is not WSMsgType.TEXT:
            return
        now_s = time.monotonic()
        self.frames += 1
        payload, crowd = frame.get_payload_as_bytes(), self.crowd
        if self.frames <= crowd.first:
            crowd.snapshot = payload
            if self.frames == crowd.first:
                self.begin()
        elif not self.stalls:
            crowd.arrived(payload, now_s)
            self.told = crc32(payload, self.told)
            if crowd.last in payload:
                crowd.has_ended(self.frames, self.told)


async def connect(url: str, client: Client) -> None:
    def unconnected(_: WSParsedURL) -> socket.socket:
        made = socket.socket()
        made.setblocking(False)
        if client.stalls:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STALLED_BUFFER)
        return made

    await ws_connect(lambda: client, url, socket_factory=unconnected, read_buffer_init_size=2048)


async def main(url: str, clients: int, stalled: int, first: int, last: str, messages: list[str]) -> None:
    crowd = Crowd(clients, first, last.encode(), [message.encode() for message in messages])
    crowd.ending -= stalled
    everyone = [Client(crowd, stalls=number < stalled) for number in range(clients)]
    for begin in range(0, clients, AT_ONCE):
        await asyncio.gather(*(connect(url, client) for client in everyone[begin : begin + AT_ONCE]))
    await crowd.begun.wait()
    if not crowd.problem:
        print("begun", flush=True)
    if last:
        await crowd.ended.wait()
    if crowd.problem:
        sys.exit(crowd.problem)
    crowd.left = True
    frames = [(frame.decode(), times) for frame, times in crowd.arrivals.items()]
    print(json.dumps({"snapshot": crowd.snapshot.decode(), "tales": len(crowd.tales), "frames": frames}), flush=True)


if __name__ == "__main__":
    _, where, *numbers, ending = sys.argv[:6]
    said = [int(number) for number in numbers]
    uvloop.run(main(where, said[0], said[1], said[2], ending, sys.argv[6:]))
