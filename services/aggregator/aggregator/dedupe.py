"""Which event ids were seen lately. "Lately" is log time, so every re-read of the log agrees. Pure."""

from collections.abc import Iterable, Mapping

MINUTE_MS = 60_000


class SeenIds:
    """Remembers an id for at least the horizon, and less than a minute longer than its whole minutes.

    Ids are kept by the minute of the log clock in which they were first seen, and forgotten by whole
    minutes, so what is remembered at a record depends on the records before it and on nothing else.
    """

    def __init__(self, horizon_ms: int, remembered: Mapping[int, Iterable[str]] | None = None) -> None:
        self._horizon_ms = horizon_ms
        self._minute = -1  # before any: the first minute of all is a minute like the others
        self._by_minute: dict[int, list[str]] = {}
        self._seen: set[str] = set()
        for minute, ids in (remembered or {}).items():
            self._by_minute.setdefault(minute, []).extend(ids)
            self._seen.update(ids)
        self._current: list[str] = []
        if self._by_minute:
            self._minute = max(self._by_minute)
            self._current = self._by_minute[self._minute]

    def __len__(self) -> int:
        return len(self._seen)

    def advance(self, clock_ms: int) -> list[int]:
        """Move the log clock, which never goes back. Returns the minutes forgotten by it."""
        minute = clock_ms - clock_ms % MINUTE_MS
        if minute <= self._minute:
            return []
        self._minute = minute
        self._current = self._by_minute.setdefault(minute, [])
        gone = [m for m in self._by_minute if m + MINUTE_MS + self._horizon_ms <= minute]
        for m in gone:
            self._seen.difference_update(self._by_minute.pop(m))
        return gone

    def first(self, event_id: str) -> bool:
        """True, and remembered from now on, where the id was not seen within the horizon."""
        if event_id in self._seen:
            return False
        self._seen.add(event_id)
        self._current.append(event_id)
        return True

    @property
    def minute(self) -> int:
        return self._minute
