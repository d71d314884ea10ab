"""What a client that arrives at a channel is sent first: a snapshot, or what it missed since its token.

Most of those who come back are answered from what the channel knows. Only where it began after the token (the
gateway started again, or nobody had watched) are the partitions' feeds read: once per channel, not per client.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from dataforge.errors import Transient
from dataforge.state.store import StateReader

from ws_gateway.channel import Change, Channel
from ws_gateway.partition import Where
from ws_gateway.place import At, Order, Token, order_of, source_of

logger = logging.getLogger(__name__)

_KEPT = 64
"""First frames of one place."""
_LOOK_AGAIN_S = 0.02
_RETRY_S = 0.5


class Lost(Exception):
    """What was missed is not to be had: everything must be sent. `reason` is part of the protocol."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class First(NamedTuple):
    """The first frame, and the change that it is."""

    change: Change
    kind: str
    frame: bytes


class Arrivals:
    """Of one channel. *Guarantees*: the same answer is made once per place, whoever asks how often."""

    def __init__(self, state: StateReader, channel: Channel) -> None:
        self._state = state
        self._channel = channel
        self._reading = asyncio.Lock()
        self._place = channel.place
        self._made: dict[str, First] = {}
        """Token ("" for a snapshot) -> what was sent, at `_place`."""
        self._heads: dict[int, Order] = {}

    def head(self, partition: int, cursor: str) -> None:
        """The store's feed ends there, now."""
        self._heads[partition] = order_of(cursor)

    def snapshot(self) -> First:
        return self._once("", lambda: Change(reset=True))

    async def since(self, token: Token) -> First:
        """Waits while a partition's place lies beyond what is shown: another gateway was faster.

        *Raises* `Lost`: the token is of other rows, or the feed does not lead from there to here (any more).
        """
        channel = self._channel
        if token.of != channel.fingerprint:
            raise Lost("other_subscription")
        self._heads.clear()
        while True:
            where = channel.where(token)
            if Where.ELSEWHERE in where.values():
                raise Lost("rolled_back")
            if older := [n for n, at in where.items() if at is Where.OLDER]:
                await self._recall(older, token)
            elif ahead := [n for n, at in where.items() if at is Where.AHEAD]:
                if any(n in self._heads and self._heads[n] < order_of(_cursor(token, n)) for n in ahead):
                    raise Lost("rolled_back")
                await asyncio.sleep(_LOOK_AGAIN_S)
            else:
                return self._once(token.encode(), lambda: channel.missed(token))

    def _once(self, key: str, change_of: Callable[[], Change]) -> First:
        if self._place is not self._channel.place or len(self._made) > _KEPT:
            self._place = self._channel.place
            self._made.clear()
        if key not in self._made:
            change = change_of()
            self._made[key] = First(change, *self._channel.frame(change))
        return self._made[key]

    # ---- the feeds
    async def _recall(self, partitions: list[int], token: Token) -> None:
        """Read what the feeds say between the token and what is known. *Raises* `Lost` where they do not."""
        async with self._reading:
            where = self._channel.where(token)
            for n in partitions:
                if where[n] is Where.OLDER:
                    try:
                        await self._recall_one(n, _cursor(token, n))
                    except Transient as error:
                        source = source_of(self._channel.selection.name, n)
                        logger.warning("the feed of %s/%d cannot be read: %s", *source, error)
                        await asyncio.sleep(_RETRY_S)
                        return

    async def _recall_one(self, n: int, cursor: str) -> None:
        source, part = source_of(self._channel.selection.name, n), self._channel.partitions[n]
        until, held, claims = part.since, cursor, list[tuple[Order, str]]()
        while held != until:
            page = await self._state.feed_range(*source, held.partition(" ")[0], until.partition(" ")[0])
            if not page:
                head = (await self._state.head(*source)).cursor
                replaced = order_of(held) == order_of(until) or order_of(head) < order_of(until)
                raise Lost("rolled_back" if replaced else "trimmed")
            for entry in page:
                if entry.prev != held:
                    raise Lost("trimmed" if order_of(entry.prev) > order_of(held) else "rolled_back")
                if not claims or claims[-1][1] != entry.claim:
                    claims.append((order_of(entry.id), entry.claim))
                part.recall(entry)
                held = entry.cursor
        if part is self._channel.partitions[n] and part.since == until:
            part.recalled(cursor, claims)


def _cursor(token: Token, partition: int) -> str:
    return token.at.get(partition, At()).cursor
