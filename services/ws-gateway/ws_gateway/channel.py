"""A channel: the state of one subscription, shared by everyone who asks the same. Pure.

Holds the rows of each partition's windows in view, applies whole commits, and says what changed on the
screen. Values are absolute, so whoever has the latest of each row has everything.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from dataforge.kpi.catalogue import Selection
from dataforge.kpi.instants import instant
from dataforge.kpi.status import Status, window_status
from dataforge.kpi.value import value_of
from dataforge.state.model import FeedEntry, PartitionRead

from ws_gateway.protocol import Place, Row, token_of

Cell = tuple[int, str]
"""(window end in ms, label as JSON array)"""

_labels = msgspec.json.Decoder(tuple[str, ...])
_row = msgspec.json.Encoder()


class Disconnected(Exception):
    """A commit does not follow what is held: the feed was trimmed, or the store rolled back. Read again."""


@dataclass(slots=True)
class Change:
    """What the next frame must say. `reset`: everything, because rows may have been taken back."""

    cells: set[Cell] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    """Ends (ms) of windows that left the view."""
    reset: bool = False


@dataclass(slots=True)
class _Partition:
    cursor: str = ""
    order: tuple[int, int] = (0, 0)
    next: int = 0
    watermark: int = 0
    panes: dict[int, dict[str, list[Any]]] = field(default_factory=dict)
    """Pane start (ms) -> label -> stored row, of wanted labels only."""


class Channel:
    """*Guarantees*: `shown` is a function of the partitions' state alone, however it got here."""

    def __init__(self, selection: Selection, number: int, limit: int) -> None:
        self.selection = selection
        self.number = number
        self.limit = limit
        """How many windows are in view, back from the newest watermark."""
        self.shown: dict[Cell, msgspec.Raw] = {}
        self._partitions = {p: _Partition() for p in range(selection.domain.partitions)}
        self._wanted = selection.wanted
        self._prefix = f"{selection.view.table.id}|{selection.step_ms}|"
        self._dirty: set[Cell] = set()
        """(pane start, label) changed since the last `advance`."""
        self._statuses: dict[int, Status] = {}
        self._reset = True
        self.place = self._place()
        """What `shown` covers: as of the last `advance`, never of what was only applied."""

    # ---- in
    def load(self, reads: Iterable[PartitionRead]) -> None:
        """Replace what is held of these partitions."""
        for read in reads:
            part = self._partitions[read.partition] = _Partition(
                read.cursor, _order(read.feed), read.next, read.watermark
            )
            for start, rows in read.windows.items():
                self._put(part, start, rows)
        self._reset = True

    def apply(self, partition: int, commit: Sequence[FeedEntry]) -> bool:
        """Take a whole commit. False where the partition's snapshot held it already. *Raises* `Disconnected`."""
        part = self._partitions[partition]
        first, last = commit[0], commit[-1]
        if first.prev != part.cursor:
            if last.cursor == part.cursor or _order(last.id) < part.order:
                return False
            raise Disconnected(
                f"{self.selection.name}/{partition}: {first.id} follows {first.prev!r}, not {part.cursor!r}"
            )
        for entry in commit:
            for key, rows in entry.rows.items():
                if key.startswith(self._prefix):
                    self._put(part, int(key[len(self._prefix) :]), rows)
            # entry.gone needs no work: what expired left the view before, see _ends_in_view.
        part.cursor, part.order = last.cursor, _order(last.id)
        part.next, part.watermark = last.next, last.watermark
        return True

    def _put(self, part: _Partition, start: int, rows: Mapping[str, list[Any]]) -> None:
        for label, row in rows.items():
            if self._wanted is None or self._wanted(_labels.decode(label)):
                part.panes.setdefault(start, {})[label] = row
                self._dirty.add((start, label))

    # ---- out
    def advance(self) -> Change:
        """Bring `shown` up to date and say what changed. Cost: one merge per changed cell."""
        newest = max((p.watermark for p in self._partitions.values()), default=0)
        step, size = self.selection.step_ms, self.selection.size_ms
        in_view = self._ends_in_view(newest)
        change = Change(reset=self._reset)
        change.gone = self._statuses.keys() - in_view
        if change.gone:
            self.shown = {cell: row for cell, row in self.shown.items() if cell[0] not in change.gone}
        dirty = {
            (end, label)
            for start, label in self._dirty
            for end in range(start + step, start + size + 1, step)
            if end in in_view
        }
        watermarks = [p.watermark for p in self._partitions.values()]
        lateness_ms = self.selection.event.lateness_ms
        statuses: dict[int, Status] = {end: window_status(end, lateness_ms, watermarks) for end in in_view}
        for end, status in statuses.items():
            if self._reset or self._statuses.get(end) != status:
                dirty.update((end, label) for label in self._labels_at(end))
        if self._reset:
            self.shown = {}
        for end, label in dirty:
            row = self._row(end, label, statuses[end])
            if self.shown.get((end, label)) != row:
                self.shown[end, label] = row
                change.cells.add((end, label))
        self._statuses, self._reset = statuses, False
        self._dirty.clear()
        self.place = self._place()
        self._forget(view_floor_ms(self.selection, newest, self.limit))
        return change

    def rows(self, cells: Iterable[Cell] | None = None) -> Iterator[msgspec.Raw]:
        """Rows as shown, by window and label; all of them where no cells are named."""
        return (self.shown[cell] for cell in sorted(self.shown if cells is None else cells) if cell in self.shown)

    def starts(self, ends: Iterable[int]) -> list[str]:
        """Window ends as the protocol names windows: by their start."""
        return [instant(end - self.selection.size_ms) for end in sorted(ends)]

    def _place(self) -> Place:
        parts = self._partitions
        started = [p.watermark for p in parts.values() if p.watermark]
        return Place(
            token_of({n: p.cursor for n, p in parts.items()}),
            {str(n): p.next for n, p in parts.items()},
            instant(min(started)) if started else None,
        )

    def _ends_in_view(self, newest: int) -> set[int]:
        """Windows that are shown: the newest `limit`, none that any partition may have dropped by its TTL."""
        step, size, ttl_ms = self.selection.step_ms, self.selection.size_ms, self.selection.event.ttl_ms
        if not newest:
            return set()
        top = newest // step * step + step
        floor = top - (self.limit - 1) * step
        if self.selection.rolling:
            ends = range(floor, top + 1, step)
        else:
            ends = {start + step for part in self._partitions.values() for start in part.panes}
        # A window is there while its oldest pane is: a rolling one goes before its newest panes do.
        return {end for end in ends if end >= floor and end - size + step + ttl_ms > newest}

    def _labels_at(self, end: int) -> set[str]:
        return {label for _, panes in self._panes(end) for label in panes}

    def _panes(self, end: int) -> Iterator[tuple[int, dict[str, list[Any]]]]:
        step, size = self.selection.step_ms, self.selection.size_ms
        for part in self._partitions.values():
            for start in range(end - size, end, step):
                if start in part.panes:
                    yield start, part.panes[start]

    def _row(self, end: int, label: str, status: Status) -> msgspec.Raw:
        view = self.selection.view
        value, revision = value_of(view, [panes[label] for _, panes in self._panes(end) if label in panes])
        labels = dict(zip(view.by, _labels.decode(label), strict=True))
        start = end - self.selection.size_ms
        # One row, encoded once: snapshots and deltas of every client share these bytes.
        return msgspec.Raw(_row.encode(Row(instant(start), instant(end), labels, value, status, revision)))

    def _forget(self, below_ms: int) -> None:
        for part in self._partitions.values():
            for start in [s for s in part.panes if s < below_ms]:
                del part.panes[start]


def view_floor_ms(selection: Selection, newest_ms: int, limit: int) -> int:
    """Start of the oldest pane a channel needs when the newest watermark is this."""
    top = newest_ms // selection.step_ms * selection.step_ms + selection.step_ms
    return max(0, top - (limit - 1) * selection.step_ms - selection.size_ms)


def _order(feed_id: str) -> tuple[int, int]:
    position, _, n = feed_id.partition("-")
    return (int(position), int(n)) if feed_id else (0, 0)
