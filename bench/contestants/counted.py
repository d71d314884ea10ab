"""What the contestants of the stream suite share. Standard library only: peers have an environment of their own."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence

WINDOW_MS = 10_000
GRACE_MS = 86_400_000
"""Where partitions are mixed, one that is read ahead of the others must not make their events late."""

Row = tuple[str, str, int, Sequence[int]]
"""(dimension, label, window start in ms, [amount, quantity, count, largest amount])"""


class Merged:
    """Rows of partitions, added up."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, int], list[int]] = {}

    def add(self, dimension: str, label: str, start: int, row: Sequence[int]) -> None:
        held = self._rows.setdefault((dimension, label, start), [0, 0, 0, 0])
        held[:] = [*(a + b for a, b in zip(held[:3], row[:3], strict=True)), max(held[3], row[3])]

    def rows(self) -> Iterator[Row]:
        for (dimension, label, start), row in self._rows.items():
            yield dimension, label, start, row


def say(rows: Iterable[Row]) -> None:
    """The last line of a contestant's output."""
    sys.stdout.write(json.dumps(list(rows)) + "\n")
    sys.stdout.flush()
