"""Reads a running platform as its users do: REST with httpx, the live feed with a plain WebSocket client."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any, TypeVar

import httpx
from websockets.sync.client import ClientConnection, connect

from devstack.model import Endpoints

T = TypeVar("T")


class Api:
    """An answer that is no success fails the test with its body, which says why."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._url = endpoints.api_url
        self._headers = {"Authorization": f"Bearer {endpoints.api_token}"}

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        asked = {k: v for k, v in params.items() if v is not None}
        answer = httpx.get(self._url + path, params=asked, headers=self._headers, timeout=60)
        assert answer.is_success, f"{answer.status_code} {answer.text}"
        return answer.json()

    def rows(
        self, metric: str, window: str, by: str = "", *, since: str | None = None, **params: Any
    ) -> Iterator[dict[str, Any]]:
        """Every row, through all pages; `since` is the API's `from`, a word that Python keeps for itself."""
        params["from"] = since
        cursor = None
        while True:
            page = self.get("/metrics", metric=metric, window=window, by=by or None, cursor=cursor, **params)
            yield from page["rows"]
            if not (cursor := page["next_cursor"]):
                return

    def next_of(self, metric: str, window: str, **params: Any) -> dict[int, int]:
        """Partition -> next raw offset: what is below is in the rows."""
        page = self.get("/metrics", metric=metric, window=window, limit=1, **params)
        return {int(p): state["next"] for p, state in page["partitions"].items()}


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = 60) -> T:
    """The first true value of the condition. *Raises* AssertionError, naming what was waited for and what was seen."""
    deadline = monotonic() + timeout_s
    seen = condition()
    while not seen:
        assert monotonic() < deadline, f"not within {timeout_s} s: {what}"
        sleep(0.1)
        seen = condition()
    return seen


@contextmanager
def live(endpoints: Endpoints) -> Iterator[ClientConnection]:
    """A connection that has presented its token."""
    with connect(endpoints.ws_url, subprotocols=["dataforge.v1"], max_size=None) as client:  # pyright: ignore[reportArgumentType]
        client.send(json.dumps({"type": "auth", "token": endpoints.api_token}))
        yield client


def frames(client: ClientConnection, timeout_s: float = 30) -> Iterator[dict[str, Any]]:
    while True:
        yield json.loads(client.recv(timeout=timeout_s))
