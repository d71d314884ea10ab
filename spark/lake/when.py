"""Instants, hours and days, for SQL. Pure."""

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(at_ms: int) -> str:
    """As SQL writes it."""
    return f"TIMESTAMP'{(_EPOCH + timedelta(milliseconds=at_ms)).isoformat()}'"


def midnight_ms(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp()) * 1000


def day_of(at_ms: int) -> date:
    return (_EPOCH + timedelta(milliseconds=at_ms)).date()


def first_day(text: str, today: date) -> date:
    """A day (`2026-01-31`), or so many before today (`3d`). *Raises* `ValueError`."""
    if text.endswith("d"):
        return today - timedelta(days=int(text[:-1]))
    return date.fromisoformat(text)


def during(column: str, start_ms: int, end_ms: int) -> str:
    """SQL: from the one instant up to the other."""
    return f"({column} >= {instant(start_ms)} AND {column} < {instant(end_ms)})"


def on_dates(column: str, days: Collection[date]) -> str:
    """SQL: the rows of these days, by a column of instants."""
    return " OR ".join(during(column, at, at + DAY_MS) for at in map(midnight_ms, sorted(days))) or "false"
