"""Names and durations, as a domain folder writes them."""

import re

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
NAME_RULE = "a small letter, then small letters, digits or _ (at most 63)"

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")


def is_name(text: str) -> bool:
    return bool(NAME.fullmatch(text))


def duration_ms(text: object) -> int | None:
    """`10s`, `5m`, `1h`, `2d`, `250ms` -> milliseconds; None where it is none, or zero."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    return int(found[1]) * _UNITS_MS[found[2]] or None if found else None
