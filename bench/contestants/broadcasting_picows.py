"""One frame to all clients, again and again, by picows alone.

Run as `python broadcasting_picows.py PORT CLIENTS FRAMES INTERVAL_MS FILE`: it begins when all are connected. A frame
is the file's text with its number before it.
"""

import asyncio
import gc
import signal
import sys
from pathlib import Path

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server


class Client(WSListener):
    def __init__(self, everyone: set[WSTransport], full: asyncio.Event, most: int) -> None:
        self.everyone, self.full, self.most = everyone, full, most

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.everyone.add(transport)
        if len(self.everyone) == self.most:
            self.full.set()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.everyone.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()


async def main(port: int, clients: int, frames: int, interval_ms: int, text: str) -> None:
    everyone, full = set[WSTransport](), asyncio.Event()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    def client(_: WSUpgradeRequest) -> Client:
        return Client(everyone, full, clients)

    await ws_create_server(client, "127.0.0.1", port, backlog=1024, read_buffer_init_size=2048)
    await full.wait()
    for number in range(1, frames + 1):
        await asyncio.sleep(interval_ms / 1000)
        frame = f"#{number:06d} {text}".encode()
        for transport in everyone:
            transport.send(WSMsgType.TEXT, frame)
    await stop.wait()


if __name__ == "__main__":
    gc.set_threshold(50_000, 50, 100)  # as our services do
    numbers = [int(number) for number in sys.argv[1:5]]
    uvloop.run(main(numbers[0], numbers[1], numbers[2], numbers[3], Path(sys.argv[5]).read_text()))
