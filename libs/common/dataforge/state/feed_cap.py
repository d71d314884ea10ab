"""How many commits a partition's update feed keeps. Pure."""

from collections.abc import Hashable

LEAST = 50
"""Entries that stay whatever their size: a few seconds' worth, or nobody who was cut off could ever resume."""
_WEIGHT = 0.02
"""Of the newest entry in the mean: about the last fifty count."""


class FeedCap:
    """At most `entries`, and about as many as fit into `size_bytes`, by the mean size of each feed's last ones.

    A commit's entry holds every row that it changed. With sketches that is tens of kilobytes, and a limit by number
    alone would make the feed most of what the store holds, and of what it loads when it starts again.
    """

    def __init__(self, entries: int, size_bytes: int) -> None:
        self._entries, self._size_bytes = entries, size_bytes
        self._mean: dict[Hashable, float] = {}

    def added(self, feed: Hashable, entry_bytes: int) -> int:
        """The feed's cap, with an entry of this size."""
        mean = self._mean.get(feed, entry_bytes)
        self._mean[feed] = mean + (entry_bytes - mean) * _WEIGHT
        return self.of(feed)

    def of(self, feed: Hashable) -> int:
        mean = self._mean.get(feed)
        if not mean:
            return self._entries
        return min(self._entries, max(LEAST, int(self._size_bytes / mean)))
