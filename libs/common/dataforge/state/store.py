"""The state store: what every implementation promises, and how a partition's keys are named."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from dataforge.errors import DataForgeError
from dataforge.state.model import Commit, FeedEntry, Loaded, PartitionRead, Settlement


class TooMany(DataForgeError):
    """A read of so many windows would keep the store from its writers: read less at once."""


Named = tuple[str, int]
"""(`<domain>.<event>.v<N>`, partition)"""


class Keys(NamedTuple):
    """Redis keys of one partition; one hash tag, so one slot."""

    meta: str
    idx: str
    ids: str
    ledger: str
    feed: str
    windows: str
    """Prefix of the window keys."""

    @classmethod
    def of(cls, name: str, partition: int) -> "Keys":
        tag = f"df:{{{name}/{partition}}}"
        return cls(f"{tag}:meta", f"{tag}:idx", f"{tag}:ids", f"{tag}:ledger", f"{tag}:feed", f"{tag}:w:")


class StateReader(Protocol):
    """*Raises* `Transient` where the store does not answer: it may be asked again."""

    async def read(
        self, name: str, partition: int, table: str, size_ms: int, start_ms: int, end_ms: int, most: int | None = None
    ) -> PartitionRead:
        """Rows of the windows with start in [start_ms, end_ms), with the positions of the same instant.

        *Raises* `TooMany` where more than `most` windows, of all tables, end while these do: while a store reads, it
        does nothing else.
        """
        ...

    async def head(self, name: str, partition: int) -> PartitionRead:
        """As `read`, without rows."""
        ...

    async def feed(self, cursors: Mapping[Named, str], block_ms: int) -> list[tuple[Named, list[FeedEntry]]]:
        """Entries after each cursor (a feed id, "0-0" for all); waits up to `block_ms` for the first."""
        ...

    async def feed_range(self, name: str, partition: int, after_id: str, up_to_id: str) -> list[FeedEntry]:
        """The first entries in (after, up to], a page of them; none where the page before was the last.

        Ids as in `FeedEntry.id`; "" or "0-0" for the start. What was trimmed is not in it: `prev` tells.
        """
        ...

    async def ledger(self, name: str, partition: int) -> dict[int, dict[str, Any]]:
        """Minute (ms) of log time -> counts by outcome."""
        ...


class StateWriter(Protocol):
    async def claim(self, name: str, partition: int, token: str) -> None:
        """Take the partition: from now on every commit under another token is refused.

        *Raises* `Transient` where the store is out of memory or does not answer: claiming again is harmless.
        """
        ...

    async def load(self, name: str, partition: int, lateness_ms: int) -> Loaded:
        """What the partition holds. Call it after `claim`, never before: a zombie could commit in between.

        *Raises* `Transient` where the store does not answer.
        """
        ...

    async def commit(self, name: str, partition: int, commit: Commit) -> None:
        """Apply whole or not at all.

        *Raises*: `Superseded` where claim or previous position are not the store's; `Transient` where the
        store is out of memory (nothing was written); `Fatal` where the outcome is unknown.
        """
        ...

    async def owner(self, name: str, partition: int) -> tuple[str, int]:
        """The claim and position in the store: what an idle owner compares with its own. *Raises* `Transient`."""
        ...

    async def settle(self, name: str, partition: int, settlement: Settlement) -> None:
        """Raise the partition's floor and say so in its feed; nothing where it is not above floor and watermark.

        Repeating it is harmless. *Raises*: `Superseded` where claim or position are not the store's;
        `Transient` where the store is out of memory or does not answer.
        """
        ...

    async def watermarks(self, name: str, partitions: Sequence[int]) -> list[int]:
        """Watermark (ms) of each of these partitions, 0 where it has none. *Raises* `Transient`."""
        ...
