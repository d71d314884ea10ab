"""What a channel holds of one partition: rows, place, and since when it knows which of them changed. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from dataforge.state.model import FeedEntry, PartitionRead

from ws_gateway.place import At, Order, order_of

Pane = tuple[int, str]
"""(pane start in ms, label as JSON array)"""
Wanted = Callable[[tuple[str, ...]], bool] | None

labels_of = msgspec.json.Decoder(tuple[str, ...]).decode


class Disconnected(Exception):
    """A commit does not follow what is held: the feed was trimmed, or the store rolled back. Read again."""


class Held(NamedTuple):
    row: list[Any]
    changed: Order
    """Place of the last change that is known, (0, 0) where it came before them all."""


class Where(Enum):
    """How a place lies to what is known of a partition."""

    KNOWN = "known"
    """On its feed, and every change after it is known."""
    OLDER = "older"
    """Before the first known change: the feed must tell."""
    AHEAD = "ahead"
    """Beyond what is held."""
    ELSEWHERE = "elsewhere"
    """On no feed that led here: the store was rolled back since."""


class Partition:
    """*Guarantees*: every change after `since` is marked at its row, as long as the row is held."""

    def __init__(self, prefix: str, wanted: Wanted) -> None:
        """`prefix` of the keys of the windows to hold; `wanted` labels, None for all."""
        self._prefix = prefix
        self._wanted = wanted
        self.at = At()
        self.next = 0
        self.panes: dict[int, dict[str, Held]] = {}
        self.since = ""
        """Cursor after which all changes are known."""
        self._claims: list[tuple[Order, str]] = []
        """(order of its first known entry, claim): who wrote the known stretch of the feed, oldest first."""

    # ---- in
    def load(self, read: PartitionRead) -> None:
        """Hold what a read says. Which of these rows changed when is not known."""
        self.at, self.next, self.since = At(read.cursor, read.watermark, read.floor), read.next, read.cursor
        for start, rows in read.windows.items():
            self._put(start, rows, (0, 0))

    def apply(self, commit: Sequence[FeedEntry]) -> list[Pane] | None:
        """Take a whole commit: what changed. None where it is held already. *Raises* `Disconnected`."""
        first, last = commit[0], commit[-1]
        held, order = self.at.cursor, order_of(last.id)
        if first.prev != held:
            if last.cursor == held or order < order_of(held):
                return None
            raise Disconnected(f"{first.id} follows {first.prev!r}, not {held!r}")
        self._wrote(last)
        changed = [
            pane for entry in commit for start, rows in self._mine(entry) for pane in self._put(start, rows, order)
        ]
        # entry.gone needs no work: what expired left the view before, see Channel.floor_ms.
        self.at, self.next = At(last.cursor, last.watermark, last.floor), last.next
        return changed

    def _mine(self, entry: FeedEntry) -> Iterator[tuple[int, Mapping[str, list[Any]]]]:
        for key, rows in entry.rows.items():
            if key.startswith(self._prefix):
                yield int(key[len(self._prefix) :]), rows

    def _put(self, start: int, rows: Mapping[str, list[Any]], order: Order) -> Iterable[Pane]:
        wanted = [label for label in rows if self._wanted is None or self._wanted(labels_of(label))]
        if wanted:
            pane = self.panes.setdefault(start, {})
            pane.update((label, Held(rows[label], order)) for label in wanted)
        return [(start, label) for label in wanted]

    def _wrote(self, entry: FeedEntry) -> None:
        if not self._claims or self._claims[-1][1] != entry.claim:
            self._claims.append((order_of(entry.id), entry.claim))

    def forget(self, below_ms: int) -> None:
        """Drop panes that start before this."""
        for start in [s for s in self.panes if s < below_ms]:
            del self.panes[start]

    # ---- the past
    def where(self, cursor: str) -> Where:
        """How a whole commit's cursor lies to what is known.

        Within the known stretch its claim decides: a claim is one owner's, who never writes one place twice.
        """
        order = order_of(cursor)
        if order > order_of(self.at.cursor):
            return Where.AHEAD
        if order < order_of(self.since):
            return Where.OLDER
        if order == order_of(self.since):
            return Where.KNOWN if cursor == self.since else Where.ELSEWHERE
        # None between `since` and the first entry after it: nobody wrote there, on this feed.
        writer = next((claim for first, claim in reversed(self._claims) if first <= order), None)
        return Where.KNOWN if cursor.partition(" ")[2] == writer else Where.ELSEWHERE

    def recall(self, entry: FeedEntry) -> None:
        """Mark what an entry before `since` changed. Harmless where it is told twice; `recalled` makes it count."""
        order = order_of(entry.id)
        for start, rows in self._mine(entry):
            pane = self.panes.get(start, {})
            for label in rows:
                if (held := pane.get(label)) is not None and held.changed < order:
                    pane[label] = Held(held.row, order)

    def recalled(self, since: str, claims: Sequence[tuple[Order, str]]) -> None:
        """Every entry from `since` to the old `since` was told; `claims` wrote them."""
        self.since = since
        self._claims = [*claims, *self._claims]

    def changed_after(self, cursor: str) -> Iterator[Pane]:
        order = order_of(cursor)
        for start, pane in self.panes.items():
            for label, held in pane.items():
                if held.changed > order:
                    yield start, label

    def is_ahead_of(self, cursor: str) -> bool:
        """True where a store that ends at `cursor` does not hold what is held here."""
        held = self.at.cursor
        return cursor != held and order_of(cursor) <= order_of(held)
