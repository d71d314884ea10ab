"""Which event ids were seen lately. "Lately" is log time, so every re-read of the log agrees. Pure."""

from collections.abc import Iterable, Mapping, Sequence

MINUTE_MS = 60_000


class SeenIds:
    """Remembers an id for at least the horizon, and less than a minute longer than its whole minutes.

    Ids are kept by the minute of the log clock in which they were first seen, and forgotten by whole
    minutes, so what is remembered at a record depends on the records before it and on nothing else.
    """

    def __init__(self, horizon_ms: int, remembered: Mapping[int, Iterable[str]] | None = None) -> None:
        self._horizon_ms = horizon_ms
        self.minute = -1  # before any: the first minute of all is a minute like the others
        self.until = 0
        """The log clock at which `advance` has something to do."""
        self._by_minute: dict[int, list[str]] = {}
        self.ids: set[str] = set()
        """All that is remembered."""
        for minute, ids in (remembered or {}).items():
            self._by_minute.setdefault(minute, []).extend(ids)
            self.ids.update(ids)
        self.current: list[str] = []
        """The ids of `minute`, in the order in which they came."""
        if self._by_minute:
            self.minute = max(self._by_minute)
            self.current, self.until = self._by_minute[self.minute], self.minute + MINUTE_MS
        self._drained = {minute: len(ids) for minute, ids in self._by_minute.items()}
        """Minute -> how many of its ids were new before the last drain."""

    def __len__(self) -> int:
        return len(self.ids)

    def first(self, ids: list[str]) -> Sequence[int]:
        """Remember these, which came in this order. Returns which of them were not remembered yet.

        By whole sets: an id costs a look into a table larger than every cache, and nothing else.
        """
        fresh = set(ids) - self.ids
        self.ids |= fresh
        if len(fresh) == len(ids):
            self.current += ids
            return range(len(ids))
        found: list[int] = []
        for at, event_id in enumerate(ids):
            if event_id in fresh:
                fresh.discard(event_id)
                found.append(at)
        self.current += [ids[at] for at in found]
        return found

    def advance(self, clock_ms: int) -> list[int]:
        """Move the log clock, which never goes back. Returns the minutes forgotten by it."""
        minute = clock_ms - clock_ms % MINUTE_MS
        if minute <= self.minute:
            return []
        self.minute, self.until = minute, minute + MINUTE_MS
        self.current = self._by_minute.setdefault(minute, [])
        gone = [m for m in self._by_minute if m + MINUTE_MS + self._horizon_ms <= minute]
        for m in gone:
            self.ids.difference_update(self._by_minute.pop(m))
            self._drained.pop(m, None)
        return gone

    def new(self) -> dict[int, list[str]]:
        """Minute -> ids first seen since the last drain; of minutes that are remembered and have some."""
        news = {minute: ids[self._drained.get(minute, 0) :] for minute, ids in self._by_minute.items()}
        return {minute: ids for minute, ids in news.items() if ids}

    def drain(self) -> list[int]:
        """Nothing is new any more. Returns the minutes of what was."""
        lengths = {minute: len(ids) for minute, ids in self._by_minute.items()}
        minutes = [minute for minute, length in lengths.items() if length > self._drained.get(minute, 0)]
        self._drained = lengths
        return minutes
