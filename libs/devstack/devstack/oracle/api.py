"""What the platform says, through its public REST API and nothing else."""

import http.client
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import msgspec
import pyarrow as pa

from devstack.oracle import retail
from devstack.oracle.compare import GOT

PAGE = 5_000


class Row(msgspec.Struct):
    start: str
    labels: dict[str, str]
    value: msgspec.Raw


class Page(msgspec.Struct):
    rows: list[Row]
    next_cursor: str | None = None
    partitions: dict[str, dict[str, Any]] = {}
    error: dict[str, Any] | None = None


_page = msgspec.json.Decoder(Page)


def instant(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


class NoAnswer(Exception):
    """The API does not answer, or not with 200."""


class Api:
    """One connection to the API, opened again where the server closed it. Every call *raises* `NoAnswer`."""

    def __init__(self, url: str, token: str, timeout_s: float = 60.0, again_after_s: Sequence[float] = ()) -> None:
        """`again_after_s`: waits before asking again where the answer is 503, which says that it may be."""
        self._again_after_s = again_after_s
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
        self._headers = {"Authorization": f"Bearer {token}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, path: str, **query: Any) -> bytes:
        """The body of a 200 answer."""
        target = f"{path}?{urlencode({k: v for k, v in query.items() if v is not None})}"
        status, body = self._ask_twice(target)
        for wait_s in self._again_after_s:
            if status != http.client.SERVICE_UNAVAILABLE:
                break
            time.sleep(wait_s)
            status, body = self._ask_twice(target)
        if status != http.client.OK:
            raise NoAnswer(f"GET {target} answered {status}: {body[:500].decode(errors='replace')}")
        return body

    def _ask_twice(self, target: str) -> tuple[int, bytes]:
        try:
            return self._ask(target)
        except (OSError, http.client.HTTPException):
            self._connection.close()  # a server closes what was idle: ask once more, on a new connection
        try:
            return self._ask(target)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise NoAnswer(f"GET {target}: {error or type(error).__name__}") from error

    def _ask(self, target: str) -> tuple[int, bytes]:
        self._connection.request("GET", target, headers=self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def pages(self, metric: str, by: str, window: str, **query: Any) -> Iterator[Page]:
        cursor = None
        while True:
            page = _page.decode(
                self.get(
                    "/metrics",
                    domain="retail",
                    metric=metric,
                    by=by or None,
                    window=window,
                    limit=PAGE,
                    cursor=cursor,
                    **query,
                )
            )
            yield page
            cursor = page.next_cursor
            if not cursor:
                return

    def raw_next(self) -> dict[int, int]:
        """Partition -> raw offset up to which everything is in the KPIs."""
        page = _page.decode(self.get("/metrics", domain="retail", metric="revenue", window="1h", limit=1))
        return {int(p): int(at["next"]) for p, at in page.partitions.items()}

    def ledger(self) -> dict[str, Any]:
        """Sums over all minutes: valid, quarantined and undecodable (by reason), counted, duplicate, late."""
        return msgspec.json.decode(self.get("/ledger", domain="retail"))["totals"]


def read_windows(api: Api, from_ms: int, to_ms: int, rolling_at_ms: Sequence[int]) -> tuple[pa.Table, dict[str, float]]:
    """Every KPI window of the domain that starts in [from, to), and the error bounds the API states, by metric."""
    rows: list[dict[str, Any]] = []
    bounds: dict[str, float] = {}
    span = {"from": instant(from_ms), "to": instant(to_ms)}
    questions: list[tuple[str, str, str, dict[str, str]]] = [
        (metric, by, window, span)
        for metric in retail.EXACT
        for by in retail.DIMENSIONS
        for window in retail.WINDOWS_MS
    ]
    questions += [
        (metric, by, "rolling:5m", {"at": instant(at)})
        for metric in retail.EXACT
        for by in retail.DIMENSIONS
        for at in rolling_at_ms
    ]
    questions += [
        (metric, "", window, span)
        for metric in (*retail.DISTINCT, *retail.QUANTILES, *retail.TOP)
        for window in retail.SKETCHED_WINDOWS
    ]
    for metric, by, window, when in questions:
        for page in api.pages(metric, by, window, **when):
            if page.error and isinstance(bound := page.error.get("bound"), int | float):
                bounds[metric] = float(bound)
            rows += [
                {
                    "metric": metric,
                    "by": by,
                    "window": window,
                    "start_ms": epoch_ms(row.start),
                    "label": row.labels[by] if by else "",
                    "value": bytes(row.value).decode(),
                }
                for row in page.rows
            ]
    return pa.Table.from_pylist(rows, GOT), bounds
