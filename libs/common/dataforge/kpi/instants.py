"""Instants as the APIs write and read them. Pure."""

from datetime import UTC, datetime
from functools import lru_cache

_LAST_MS = 253_402_300_799_999
"""End of the year 9999: what ISO 8601 can say."""


@lru_cache(maxsize=4096)
def instant(at_ms: int) -> str:
    """Milliseconds since the epoch as ISO 8601, UTC, with milliseconds."""
    seconds, ms = divmod(at_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"


def parse_instant(text: str) -> int:
    """ISO 8601 (UTC where it names no offset) or milliseconds since the epoch. *Raises* ValueError."""
    if text.lstrip("-").isdigit():
        at_ms = int(text)
    else:
        at = datetime.fromisoformat(text)
        at_ms = round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    if not 0 <= at_ms <= _LAST_MS:
        raise ValueError("an instant lies between 1970 and 9999")
    return at_ms
