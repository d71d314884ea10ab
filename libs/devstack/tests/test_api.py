"""The oracle's REST client against a real HTTP server that closes, fails and pages."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from devstack.oracle.api import Api, NoAnswer, epoch_ms, instant


class Platform(BaseHTTPRequestHandler):
    """Two pages of one metric; /gone is 404, /busy twice 503; says where it stands; hangs up after every answer."""

    protocol_version = "HTTP/1.1"
    busy = 2

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        status = 401 if self.headers["Authorization"] != "Bearer secret" else 404 if url.path == "/gone" else 200
        if url.path == "/busy" and Platform.busy:
            status, Platform.busy = 503, Platform.busy - 1
        body = json.dumps(self.answer(query)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True  # without saying so: as a server does to a connection that was idle

    def answer(self, query: dict[str, str]) -> dict[str, Any]:
        page = int(query.get("cursor", 0))
        row = {"start": instant(page * 1000), "labels": {"store": str(page)}, "value": page}
        partitions = {"0": {"next": 7, "position": 9, "watermark": None}}
        return {"rows": [row], "next_cursor": "1" if page == 0 else None, "partitions": partitions, "error": None}

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Platform) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_all_pages_are_read_though_the_server_hangs_up_between_them(url: str) -> None:
    with Api(url, "secret") as api:
        pages = list(api.pages("revenue", "store", "1m"))
    assert [row.labels["store"] for page in pages for row in page.rows] == ["0", "1"]
    assert [bytes(row.value) for page in pages for row in page.rows] == [b"0", b"1"]


def test_positions_are_raw_offsets(url: str) -> None:
    with Api(url, "secret") as api:
        assert api.raw_next() == {0: 7}


def test_what_is_not_200_is_no_answer(url: str) -> None:
    with Api(url, "secret") as api, pytest.raises(NoAnswer, match="404"):
        api.get("/gone")
    with Api(url, "wrong") as api, pytest.raises(NoAnswer, match="401"):
        api.get("/metrics")


def test_what_says_that_it_is_busy_is_asked_again_by_who_has_patience(url: str) -> None:
    Platform.busy = 2
    with Api(url, "secret", again_after_s=(0.0,)) as api, pytest.raises(NoAnswer, match="503"):
        api.get("/busy")
    Platform.busy = 2
    with Api(url, "secret", again_after_s=(0.0, 0.0)) as api:
        assert b"rows" in api.get("/busy")


def test_nobody_there_is_no_answer() -> None:
    with pytest.raises(NoAnswer, match="refused"):
        Api("http://127.0.0.1:1", "secret").get("/metrics")


def test_instants_round_trip() -> None:
    assert epoch_ms(instant(1_800_000_000_123)) == 1_800_000_000_123
    assert instant(1_800_000_000_000) == "2027-01-15T08:00:00.000Z"
