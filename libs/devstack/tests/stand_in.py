"""Stands in for a service where a test is about the supervisor: answers /readyz, notes its start and its stop."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def stop(*_: object) -> None:
    Path("stopped").write_text(str(os.getpid()))
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    if "STAND_IN_FAILS" in os.environ:
        sys.exit("settings are wrong: DATAFORGE_NONSENSE")
    Path("environment").write_text("\n".join(f"{k}={v}" for k, v in os.environ.items()))
    HTTPServer(("127.0.0.1", int(os.environ["DATAFORGE_ADMIN_PORT"])), Handler).serve_forever()
