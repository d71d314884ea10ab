"""Follows the update feeds of all partitions and hands on whole commits, in order.

One reader serves every channel. Where a feed does not connect (trimmed, or the store rolled back) it says
so, and goes on from where the store is now.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dataforge.errors import Transient
from dataforge.state.model import FeedEntry
from dataforge.state.store import Named, StateReader

from ws_gateway.place import order_of

logger = logging.getLogger(__name__)


class Listener(Protocol):
    def committed(self, named: Named, commit: Sequence[FeedEntry]) -> None:
        """A whole commit, exactly after the one before, unless `broken` came in between."""
        ...

    def broken(self, named: Named) -> None:
        """Commits may have been missed or taken back: what is held of this partition must be read again."""
        ...

    def head(self, named: Named, cursor: str) -> None:
        """The store's feed ends there, a moment ago. Told about once a second."""
        ...

    def settled(self) -> None:
        """All that was ready has been handed over: a good moment to push."""
        ...


@dataclass(slots=True)
class Tail:
    """One partition's place in its feed. Pure."""

    cursor: str
    """`<id> <claim>` of the last whole commit's last entry; "" before the first."""
    partial: list[FeedEntry] = field(default_factory=list)

    @property
    def read_after(self) -> str:
        """The feed id to read from."""
        return self.partial[-1].id if self.partial else self.cursor.partition(" ")[0] or "0-0"

    def connects(self, entry: FeedEntry) -> bool:
        return entry.prev == (self.partial[-1].cursor if self.partial else self.cursor)

    def take(self, entry: FeedEntry) -> list[FeedEntry] | None:
        """The commit this entry completes; None while entries of it are missing."""
        self.partial.append(entry)
        if not entry.last:
            return None
        commit, self.partial = self.partial, []
        self.cursor = entry.cursor
        return commit


class Follower:
    """*Guarantees*: a listener sees every commit once and in order, or `broken`."""

    def __init__(
        self, state: StateReader, partitions: Sequence[Named], listener: Listener, *, check_after_s: float = 1.0
    ) -> None:
        self._state = state
        self._partitions = partitions
        self._listener = listener
        self._check_after_s = check_after_s
        self._tails: dict[Named, Tail] = {}
        self._check_at_s = 0.0
        self.problem: str | None = "the update feed has not been read yet"
        """None while the store answers."""

    async def run(self) -> None:
        """Follow until cancelled. While the store is away: try again, waiting up to 2 s, and say so once."""
        wait_s = 0.05
        while True:
            try:
                if await self._begin():
                    self._well()
                await self._step()
                self._well()
                wait_s = 0.05
            except Transient as error:
                if self.problem is None:
                    logger.warning("%s", error)
                self.problem = str(error)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, 2.0)

    def _well(self) -> None:
        if self.problem:
            logger.info("following the feeds of %d partitions", len(self._partitions))
        self.problem = None

    async def _begin(self) -> bool:
        """Find the end of every feed that is not followed (any more). True where there was one."""
        fresh = len(self._tails) < len(self._partitions)
        for named in self._partitions:
            if named not in self._tails:
                self._tails[named] = Tail((await self._state.head(*named)).cursor)
                # Only now: whoever reads after this point holds at least what this tail begins with.
                self._listener.broken(named)
        return fresh

    async def _step(self) -> None:
        now = asyncio.get_running_loop().time
        after = {named: tail.read_after for named, tail in self._tails.items()}
        for named, entries in await self._state.feed(after, int(self._check_after_s * 1000)):
            self._take(named, entries)
        self._listener.settled()
        if now() >= self._check_at_s:
            self._check_at_s = now() + self._check_after_s
            for named in list(self._tails):
                await self._compare(named)

    def _take(self, named: Named, entries: Sequence[FeedEntry]) -> None:
        tail = self._tails[named]
        for entry in entries:
            if not tail.connects(entry):
                # Begin again from the store's own word; the rest of these entries is in it.
                self._lost(named, f"{entry.id} follows {entry.prev!r}, held was {tail.cursor!r}")
                return
            if (commit := tail.take(entry)) is not None:
                self._listener.committed(named, commit)

    async def _compare(self, named: Named) -> None:
        """A store that was rolled back may send nothing, or what follows an older place: compare its last entry."""
        tail = self._tails[named]
        theirs = (await self._state.head(*named)).cursor
        self._listener.head(named, theirs)
        if theirs != tail.cursor and order_of(theirs) <= order_of(tail.cursor):
            self._lost(named, f"the store's feed ends at {theirs!r}, held was {tail.cursor!r}")

    def _lost(self, named: Named, why: str) -> None:
        logger.warning("feed of %s/%d does not connect: %s", *named, why)
        del self._tails[named]
