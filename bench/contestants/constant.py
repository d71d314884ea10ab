"""FastAPI as it comes, answering `GET /metrics` with a file's content. Run as `python constant.py PORT FILE`."""

import signal
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import Response

app = FastAPI()
body = Path(sys.argv[2]).read_bytes()


@app.get("/metrics", response_class=Response)
async def metrics() -> Response:
    return Response(body, media_type="application/json")


if __name__ == "__main__":
    # uvicorn would end by the signal it was asked to end by, and that is a failure to whoever waits for it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False, ws="none", lifespan="off"
    )
