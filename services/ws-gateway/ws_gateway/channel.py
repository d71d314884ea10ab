"""A channel: the state of one subscription, shared by everyone who asks the same. Pure.

Holds the rows of each partition's windows in view, applies whole commits, and says what changed on the
screen: since the last frame, or since the place where a client was cut off. Values are absolute, so whoever
has the latest of each row has everything. What the lake has corrected is one partition more, whose rows go over
those of the others.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from dataforge.corrections import overlay_table
from dataforge.kpi.catalogue import Selection
from dataforge.kpi.instants import instant
from dataforge.kpi.overlay import overlaid
from dataforge.kpi.plan import Row as Stored
from dataforge.kpi.status import Status, window_status
from dataforge.kpi.value import merging
from dataforge.state.model import FeedEntry, PartitionRead

from ws_gateway import protocol
from ws_gateway.partition import Disconnected, Held, Pane, Partition, Where, labels_of
from ws_gateway.place import CORRECTIONS, At, Token, fingerprint, newest_of, of_event, order_of, source_of
from ws_gateway.protocol import Place, Row

Cell = tuple[int, str]
"""(window end in ms, label as JSON array)"""

_row = msgspec.json.Encoder()


@dataclass(slots=True)
class Change:
    """What the next frame must say. `reset`: everything, because rows may have been taken back."""

    cells: set[Cell] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    """Ends (ms) of windows that left the view, or one of whose rows did: the others are in `cells`."""
    reset: bool = False


class Channel:
    """*Guarantees*: `shown` is a function of the partitions' state alone, however it got here."""

    def __init__(self, selection: Selection, number: int, limit: int) -> None:
        self.selection = selection
        self.number = number
        self.limit = limit
        """How many windows are in view, back from the newest watermark."""
        self.fingerprint = fingerprint(selection, limit)
        self._merge = merging(selection.view)
        self.shown: dict[Cell, msgspec.Raw] = {}
        self.partitions = {p: self._empty(p) for p in (*range(selection.domain.partitions), CORRECTIONS)}
        self._dirty: set[Pane] = set()
        """Changed since the last `advance`."""
        self._statuses: dict[int, Status] = {}
        self._reset = True
        self.at: dict[int, At] = {}
        """What `shown` covers: as of the last `advance`, never of what was only applied."""
        self.place = self._place()

    # ---- in
    def load(self, reads: Sequence[PartitionRead]) -> None:
        """Replace what is held of these partitions."""
        if not self._reset and all(self.partitions[read.partition].at.cursor == read.cursor for read in reads):
            return  # it is what is held already, where each row is marked with its last change
        for read in reads:
            part = self.partitions[read.partition] = self._empty(read.partition)
            part.load(read)
        self._reset = True

    def table_in(self, partition: int) -> str:
        """What the partition's state calls the table that is shown."""
        table = self.selection.view.table.id
        return overlay_table(self.selection.name, table) if partition == CORRECTIONS else table

    def _empty(self, partition: int) -> Partition:
        return Partition(f"{self.table_in(partition)}|{self.selection.step_ms}|", self.selection.wanted)

    def apply(self, partition: int, commit: Sequence[FeedEntry]) -> bool:
        """Take a whole commit. False where the partition's snapshot held it already. *Raises* `Disconnected`."""
        try:
            changed = self.partitions[partition].apply(commit)
        except Disconnected as error:
            raise Disconnected("{}/{}: {}".format(*source_of(self.selection.name, partition), error)) from None
        self._dirty.update(changed or ())
        return changed is not None

    # ---- out
    def advance(self) -> Change:
        """Bring `shown` up to date and say what changed. Cost: one merge per changed cell."""
        self.at = {n: part.at for n, part in self.partitions.items()}
        in_view = self._ends_in_view()
        change = Change(reset=self._reset)
        change.gone = self._statuses.keys() - in_view
        if change.gone:
            self.shown = {cell: row for cell, row in self.shown.items() if cell[0] not in change.gone}
        statuses: dict[int, Status] = {end: self._status(end, self.at) for end in in_view}
        dirty = self._cells(self._dirty, statuses)
        if self._reset:
            # A load marks no rows: all of them are new.
            self.shown = {}
        for end, status in statuses.items():
            if self._reset or self._statuses.get(end) != status:
                dirty.update((end, label) for label in self._labels_at(end))
        left: set[int] = set()
        for end, label in dirty:
            row = self._row(end, label, statuses[end])
            if row is None:
                if self.shown.pop((end, label), None) is not None:
                    left.add(end)
            elif self.shown.get((end, label)) != row:
                self.shown[end, label] = row
                change.cells.add((end, label))
        self._send_whole(change, left)
        self._statuses, self._reset = statuses, False
        self._dirty.clear()
        self.place = self._place()
        oldest_pane_ms = max(0, self._floor_ms(self.at) - self.selection.size_ms)
        for part in self.partitions.values():
            part.forget(oldest_pane_ms)
        return change

    def _send_whole(self, change: Change, ends: set[int]) -> None:
        """Of these windows a row left: a frame names windows that are gone, not rows, so the others are sent again."""
        change.gone |= ends
        change.cells |= {cell for cell in self.shown if cell[0] in ends}

    def where(self, token: Token) -> dict[int, Where]:
        """How each partition's place in the token lies to what is shown. One it does not name is at its start."""
        cursors = {n: token.at.get(n, At()).cursor for n in self.partitions}
        return {
            n: Where.AHEAD if self._reset or order_of(cursor) > order_of(self.at[n].cursor) else part.where(cursor)
            for (n, part), cursor in zip(self.partitions.items(), cursors.values(), strict=True)
        }

    def missed(self, token: Token) -> Change:
        """What takes a client that had the rows at `token` to the rows shown now.

        Every partition must be `Where.KNOWN`. Cost: a look at every row held.
        """
        then = {n: token.at.get(n, At()) for n in self.partitions}
        floor_then, floor_now, step = self._floor_ms(then), self._floor_ms(self.at), self.selection.step_ms
        top_then = newest_of(then) // step * step + step
        if not newest_of(then) or floor_now > top_then:
            return Change(reset=True)  # nothing the client has is in view any more
        panes = (pane for n, part in self.partitions.items() for pane in part.changed_after(then[n].cursor))
        cells = self._cells(panes, self._statuses)
        moved = {
            end
            for end, status in self._statuses.items()
            if self._status(end, then) != status or (end > top_then and self.selection.rolling)
        }
        cells.update(cell for cell in self.shown if cell[0] in moved)
        change = Change(cells & self.shown.keys(), set(range(floor_then, floor_now, step)))
        self._send_whole(change, {end for end, _ in cells - self.shown.keys()})
        return change

    def frame(self, change: Change) -> tuple[str, bytes]:
        """(kind, frame) that takes a client from before the change to what is shown."""
        if change.reset:
            return "snapshot", protocol.snapshot(self.number, self.rows(), self.place)
        rows, gone = self.rows(change.cells), self.starts(change.gone)
        return "delta", protocol.delta(self.number, rows, gone, self.place)

    def rows(self, cells: Iterable[Cell] | None = None) -> Iterator[msgspec.Raw]:
        """Rows as shown, by window and label; all of them where no cells are named."""
        return (self.shown[cell] for cell in sorted(self.shown if cells is None else cells) if cell in self.shown)

    def starts(self, ends: Iterable[int]) -> list[str]:
        """Window ends as the protocol names windows: by their start."""
        return [instant(end - self.selection.size_ms) for end in sorted(ends)]

    def _place(self) -> Place:
        started = [at.watermark for at in of_event(self.at) if at.watermark]
        return Place(
            Token(self.fingerprint, self.at).encode(),
            {str(n): part.next for n, part in self.partitions.items() if n != CORRECTIONS},
            instant(min(started)) if started else None,
        )

    # ---- the view
    def _floor_ms(self, places: dict[int, At]) -> int:
        """End (ms) of the oldest window that is shown at these places: the newest `limit`, and none that any
        partition may have dropped by its TTL. It never goes back while no watermark does.
        """
        selection, newest = self.selection, newest_of(places)
        step = selection.step_ms
        top = newest // step * step + step
        # A window is there while its oldest pane is: a rolling one goes before its newest panes do.
        expired = newest - selection.event.ttl_ms + selection.size_ms - step
        return max(top - (self.limit - 1) * step, expired // step * step + step, step)

    def _ends_in_view(self) -> set[int]:
        newest, step = newest_of(self.at), self.selection.step_ms
        if not newest:
            return set()
        floor = self._floor_ms(self.at)
        if self.selection.rolling:
            return set(range(floor, newest // step * step + step + 1, step))
        return {start + step for part in self.partitions.values() for start in part.panes if start + step >= floor}

    def _cells(self, panes: Iterable[Pane], ends: dict[int, Status]) -> set[Cell]:
        """The rows among these windows that the panes are part of."""
        step, size = self.selection.step_ms, self.selection.size_ms
        return {
            (end, label) for start, label in panes for end in range(start + step, start + size + 1, step) if end in ends
        }

    def _status(self, end: int, places: dict[int, At]) -> Status:
        return window_status(end, self.selection.event.lateness_ms, of_event(places))

    def _labels_at(self, end: int) -> set[str]:
        return {label for panes in self._panes(end) for label in panes}

    def _panes(self, end: int) -> Iterator[dict[str, Held]]:
        step, size = self.selection.step_ms, self.selection.size_ms
        for part in self.partitions.values():
            for start in range(end - size, end, step):
                if start in part.panes:
                    yield part.panes[start]

    def _row(self, end: int, label: str, status: Status) -> msgspec.Raw | None:
        """None where the lake says that there is no such row."""
        rows, corrected = self._rows_of(end, label)
        if not rows:
            return None
        value, revision = self._merge(rows)
        labels = dict(zip(self.selection.view.by, labels_of(label), strict=True))
        start = end - self.selection.size_ms
        # One row, encoded once: snapshots and deltas of every client share these bytes.
        return msgspec.Raw(_row.encode(Row(instant(start), instant(end), labels, value, status, revision, corrected)))

    def _rows_of(self, end: int, label: str) -> tuple[list[Stored], bool]:
        """What to merge, and whether a correction is among it."""
        if not self.partitions[CORRECTIONS].panes:
            return [panes[label].row for panes in self._panes(end) if label in panes], False
        starts = range(end - self.selection.size_ms, end, self.selection.step_ms)

        def held(part: Partition) -> Iterator[tuple[int, Stored]]:
            return ((at, part.panes[at][label].row) for at in starts if label in part.panes.get(at, ()))

        live = [row for n, part in self.partitions.items() if n != CORRECTIONS for row in held(part)]
        return overlaid(self.selection.view, live, dict(held(self.partitions[CORRECTIONS])))


def view_floor_ms(selection: Selection, newest_ms: int, limit: int) -> int:
    """Start of the oldest pane a channel needs when the newest watermark is this."""
    top = newest_ms // selection.step_ms * selection.step_ms + selection.step_ms
    return max(0, top - (limit - 1) * selection.step_ms - selection.size_ms)
