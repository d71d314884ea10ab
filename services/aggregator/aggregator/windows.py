"""A partition's windows: pending rows absorbed into every window size, sealed, expired. Pure."""

import heapq
from collections import defaultdict
from collections.abc import Mapping
from itertools import product
from typing import Any

import msgspec

from dataforge.contracts.model import OTHER, EventType
from dataforge.errors import Fatal
from dataforge.kpi.columns import short_label
from dataforge.kpi.plan import Plan, Row, Table
from dataforge.state.model import WindowKey, split_window_key, window_key

from aggregator.contribute import Begun, Pending, Revised
from aggregator.rows import compile_rows

Changed = dict[WindowKey, dict[str, bytes]]


class Labels:
    """Raw labels of one table -> JSON label, up to a cap; whatever comes later shares `__other__`.

    *Guarantees*: which values get a row of their own depends on their order in the log alone.
    """

    def __init__(self, table: Table, cap: int, known: tuple[str, ...] = ()) -> None:
        self._width, self._cap = len(table.dimensions), cap
        self._known = dict.fromkeys(known)
        self._other = msgspec.json.encode([OTHER] * self._width).decode()
        self._cache: dict[Any, str] = {}
        self.overflowed = 0
        self.grown = False

    def of(self, raw: Any) -> str:
        if (found := self._cache.get(raw)) is not None:
            return found
        parts = raw if self._width != 1 else (raw,)
        short = [short_label(part) for part in parts]
        label = msgspec.json.encode(short).decode()
        if label not in self._known:
            if self._width and len(self._known) >= self._cap:
                self.overflowed += 1
                return self._other
            self._known[label] = None
            self.grown = True
        if OTHER not in short:  # what is too long for a label is nothing to remember: it may be anything
            self._cache[raw] = label
        return label

    def known(self) -> list[str]:
        return list(self._known)


class Windows:
    """Open rows in held form, and the expiry of every stored window.

    A window is sealed once `end + lateness <= watermark`: no event can reach it any more, so it leaves
    memory after the commit that wrote it last, and is never written again. It expires at `end + ttl`, also
    by the log's time.
    """

    def __init__(self, plan: Plan, labels: Mapping[str, tuple[str, ...]] | None = None) -> None:
        event: EventType = plan.event
        self._tables = {t.id: t for t in plan.tables}
        self._order = plan.tables
        self._compiled = {t.id: compile_rows(t) for t in plan.tables}
        self._lateness_ms, self._ttl_ms = event.lateness_ms, event.ttl_ms
        self.labels = [Labels(t, event.label_cap, (labels or {}).get(t.id, ())) for t in plan.tables]
        self._rows: dict[WindowKey, dict[str, Row]] = {}
        self._expiries: list[tuple[int, WindowKey]] = []
        self._stored: set[WindowKey] = set()
        self._sealed_by = 0
        """Watermark (ms) of the last commit: what is sealed by it is not in memory any more."""

    def restore(
        self,
        stored: Mapping[WindowKey, Mapping[str, list[Any]]],
        expiries: Mapping[WindowKey, int],
        watermark: int,
    ) -> None:
        """Rows of tables that metrics.yaml no longer names stay stored until they expire, untouched."""
        for key, rows in stored.items():
            table = self._tables.get(split_window_key(key)[0])
            if table:
                self._rows[key] = {label: table.restore(row) for label, row in rows.items()}
        self._stored, self._sealed_by = set(expiries), watermark
        self._expiries = [(end + self._ttl_ms, key) for key, end in expiries.items()]
        heapq.heapify(self._expiries)

    @property
    def open(self) -> int:
        """Windows held in memory."""
        return len(self._rows)

    def absorb(
        self, pending: list[Pending], begun: list[Begun], revised: list[Revised]
    ) -> tuple[Changed, dict[WindowKey, int]]:
        """Add a batch's pending rows to every window they belong to. Returns encoded rows and window ends."""
        changed: defaultdict[WindowKey, set[str]] = defaultdict(set)
        ends: dict[WindowKey, int] = {}
        named = [{raw: labels.of(raw) for raw in raws} for labels, raws in zip(self.labels, begun, strict=True)]
        for table, label_of, panes in zip(self._order, named, pending, strict=True):
            begin, add, _ = self._compiled[table.id]
            for (pane, added), size in product(panes.items(), table.windows_ms):
                start = pane - pane % size
                key = window_key(table.id, size, start)
                ends[key] = start + size
                rows, touched = self._held(key, start + size), changed[key]
                for raw, values in added.items():
                    label = label_of[raw]
                    row = rows.get(label)
                    if row is None:
                        rows[label] = begin(values)
                    else:
                        add(row, values)
                    touched.add(label)
        for n, pane, raw, watermark in revised:
            table, label = self._order[n], named[n][raw]
            for size in table.windows_ms:
                start = pane - pane % size
                if start + size <= watermark:
                    self._rows[window_key(table.id, size, start)][label][0] += 1
        return {key: self._encoded(key, labels) for key, labels in changed.items()}, ends

    def _held(self, key: WindowKey, end: int) -> dict[str, Row]:
        """A window's rows, begun where it has none."""
        rows = self._rows.get(key)
        if rows is None:
            if end + self._lateness_ms <= self._sealed_by:
                # Its stored rows are complete and these would replace them by a part: better no aggregator than that.
                raise Fatal(f"window {key} is sealed and would be written again: this is a fault of the fold")
            rows = self._rows[key] = {}
        if key not in self._stored:
            self._stored.add(key)
            heapq.heappush(self._expiries, (end + self._ttl_ms, key))
        return rows

    def _encoded(self, key: WindowKey, labels: set[str]) -> dict[str, bytes]:
        rows, encode = self._rows[key], self._compiled[split_window_key(key)[0]].encode
        return {label: encode(rows[label]) for label in labels}

    def expire(self, watermark: int) -> tuple[WindowKey, ...]:
        """Windows past their time to live, forgotten here and to be removed from the store."""
        gone: list[WindowKey] = []
        while self._expiries and self._expiries[0][0] <= watermark:
            key = heapq.heappop(self._expiries)[1]
            self._stored.discard(key)
            self._rows.pop(key, None)
            gone.append(key)
        return tuple(gone)

    def drop_sealed(self, watermark: int) -> None:
        """Forget rows that can change no more. Call it only after the commit that holds them is safe."""
        self._sealed_by = watermark
        for key in list(self._rows):
            _, size, start = split_window_key(key)
            if start + size + self._lateness_ms <= watermark:
                del self._rows[key]
