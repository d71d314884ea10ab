"""One frame to all clients, again and again, by FastAPI on uvicorn. Run as `broadcasting_picows.py` is."""

import asyncio
import gc
import signal
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()
everyone: set[WebSocket] = set()
full = asyncio.Event()
port, clients, frames, interval_ms = map(int, sys.argv[1:5])
text = Path(sys.argv[5]).read_text()


@app.websocket("/")
async def connected(client: WebSocket) -> None:
    await client.accept()
    everyone.add(client)
    if len(everyone) == clients:
        full.set()
    try:
        while True:
            await client.receive_text()
    except WebSocketDisconnect:
        everyone.discard(client)


async def broadcast() -> None:
    await full.wait()
    for number in range(1, frames + 1):
        await asyncio.sleep(interval_ms / 1000)
        frame = f"#{number:06d} {text}"
        for client in everyone:
            await client.send_text(frame)


@app.on_event("startup")
async def begin() -> None:
    app.state.broadcasting = asyncio.create_task(broadcast())


if __name__ == "__main__":
    gc.set_threshold(50_000, 50, 100)  # as our services do
    # uvicorn would end by the signal it was asked to end by, and that is a failure to whoever waits for it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        backlog=1024,
        log_config=None,
        access_log=False,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
    )
