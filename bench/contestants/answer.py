"""What a contestant of the stream suite says at its end. Standard library only: peers have other environments."""

import hashlib
import json
import sys
from collections.abc import Iterable, Sequence

WINDOW_MS = 10_000

Row = tuple[str, str, int, Sequence[int]]
"""(dimension, label, window start in ms, [amount, quantity, count, largest amount])"""


def digest(rows: Iterable[Row]) -> str:
    """The same for the same rows, in whatever order they come."""
    lines = sorted(
        f"{dimension} {label} {start} {' '.join(map(str, values))}" for dimension, label, start, values in rows
    )
    return f"{len(lines)} rows {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}"


def say(rows: Iterable[Row]) -> None:
    """The last line of a contestant's output."""
    sys.stdout.write(json.dumps({"answer": digest(rows)}) + "\n")
    sys.stdout.flush()
