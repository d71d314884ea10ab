"""What is read from, and written to, a partition's state. Pure values; *Source*: docs/specs/state.md."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

WindowKey = str
"""`<table>|<size_ms>|<start_ms>`"""


def window_key(table: str, size_ms: int, start_ms: int) -> WindowKey:
    return f"{table}|{size_ms}|{start_ms}"


def split_window_key(key: WindowKey) -> tuple[str, int, int]:
    table, size, start = key.rsplit("|", 2)
    return table, int(size), int(start)


class PartitionRead(NamedTuple):
    """One partition at one instant: rows, positions and feed cursor belong together."""

    partition: int
    position: int
    """Next judged offset."""
    next: int
    """Next raw offset: every raw record below it is in these rows."""
    watermark: int
    """Milliseconds of event time; 0 = no valid record yet."""
    feed: str
    """Id of the last feed entry, "" if there is none."""
    claim: str
    """Claim under which that feed entry was written."""
    windows: Mapping[int, Mapping[str, list[Any]]] = {}
    """Window start (ms) -> label (JSON array) -> stored row."""
    floor: int = 0
    """Milliseconds of event time up to which an idle partition's windows count as settled. Display only."""

    @property
    def cursor(self) -> str:
        """What the next feed entry names as its predecessor."""
        return f"{self.feed} {self.claim}" if self.feed else ""


class FeedEntry(NamedTuple):
    """One entry of a partition's update feed. Rows are absolute values."""

    partition: int
    id: str
    claim: str
    prev: str
    """`<id> <claim>` of the entry before; "" for the first."""
    last: bool
    """True on the last entry of a commit: a reader applies whole commits only."""
    next: int
    watermark: int
    position: int
    rows: Mapping[WindowKey, Mapping[str, list[Any]]]
    gone: list[WindowKey]
    trace: list[str]
    at: int = 0
    """Time of day (ms) of the commit, for people; 0 where it does not say."""
    floor: int = 0
    """As in `PartitionRead`."""

    @property
    def cursor(self) -> str:
        return f"{self.id} {self.claim}"


class Loaded(NamedTuple):
    """All a new owner needs: the open windows, the remembered ids, the ledger."""

    meta: Mapping[str, str]
    windows: Mapping[WindowKey, Mapping[str, list[Any]]]
    """Windows that can still change: those whose end + lateness lies above the watermark."""
    expiries: Mapping[WindowKey, int]
    """Every stored window, sealed ones too, with its end (ms)."""
    ids: Mapping[str, list[str]]
    """`<minute>:<position>` -> event ids."""
    ledger: Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Commit:
    """One atomic step of a partition: what changed, as absolute values.

    *Guarantees*: applied whole or not at all; refused unless `claim` and `previous` are the store's.
    """

    claim: str
    previous: int
    position: int
    meta: Mapping[str, str]
    windows: Mapping[WindowKey, Mapping[str, bytes]] = field(default_factory=dict)
    """Changed rows, each encoded once: the same bytes are stored and fed."""
    ends: Mapping[WindowKey, int] = field(default_factory=dict)
    """End (ms) of each window in `windows`."""
    gone: tuple[WindowKey, ...] = ()
    ids: Mapping[str, bytes] = field(default_factory=dict)
    ids_gone: tuple[str, ...] = ()
    ledger: Mapping[int, bytes] = field(default_factory=dict)
    ledger_gone: tuple[int, ...] = ()
    feed: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an idle partition's owner says: where the others are. Changes no number, only what status is shown."""

    claim: str
    position: int
    floor: int
    """Highest watermark (ms) of the other partitions."""
    feed: bytes
    """A feed entry's payload, without rows."""
