"""Sales that the stream suite counts: seeded, and counted a third time, by numpy."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dataforge.stream.judged import HEADER, Stamp, Verdict, fingerprint
from dataforge.stream.origin import NO_ID

WINDOW_MS = 10_000
PARTITIONS = 4
_BEGIN_MS = 1_767_225_600_000
_DISORDER_MS = 5_000
_CATEGORIES = 30

_PARTITION_OF = np.array([0, 1, 2, 3, 3, 2, 1, 0])
"""By a store's number, in turns."""

Produced = tuple[bytes, bytes, list[tuple[str, bytes]]]
"""Key, value and headers of a record."""
Row = tuple[str, str, int, list[int]]
"""(dimension, label, window start in ms, [amount, quantity, count, largest amount])"""


@dataclass(frozen=True)
class Sales:
    """*Shape*: one entry per sale, in the order they are produced."""

    at: NDArray[np.int64]
    store: NDArray[np.int64]
    category: NDArray[np.int64]
    amount: NDArray[np.int64]
    quantity: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.at)

    def first(self, events: int) -> "Sales":
        """As many of them; a contestant that is slow need not count them all."""
        return Sales(*(column[:events] for column in (self.at, self.store, self.category, self.amount, self.quantity)))

    def in_partition(self, partition: int) -> NDArray[np.int64]:
        """Which of them; a store's sales are in one. Nearly as many as in each other: for whoever mixes partitions, one
        that is read ahead would make the others' sales late.
        """
        return np.flatnonzero(_PARTITION_OF[self.store % len(_PARTITION_OF)] == partition)

    def raw(self, partition: int) -> Iterator[Produced]:
        """As a producer would write them."""
        mine = self.in_partition(partition).tolist()
        columns = zip(
            *(column[mine].tolist() for column in (self.at, self.store, self.category, self.amount, self.quantity)),
            strict=True,
        )
        for number, (at, store, category, amount, quantity) in zip(mine, columns, strict=True):
            value = (
                b'{"id":"sale-%012d","at":%d,"store":%d,"category":"category %02d","amount":%d,"quantity":%d,'
                b'"note":"what nobody counts, and everybody reads"}' % (number, at, store, category, amount, quantity)
            )
            yield b"%d" % store, value, []

    def judged(self, partition: int) -> Iterator[Produced]:
        """As quality-worker would write them, now."""
        now_ms = time.time_ns() // 1_000_000
        for src, (key, value, _) in enumerate(self.raw(partition)):
            stamp = Stamp(Verdict.VALID, src, src, now_ms, 0, fingerprint(value), NO_ID)
            yield key, value, [(HEADER, stamp.pack())]

    def rows(self) -> Iterator[Row]:
        """What is to come out."""
        start = self.at - self.at % WINDOW_MS
        for dimension, label, text in (("store", self.store, "%d"), ("category", self.category, "category %02d")):
            keys, of = np.unique(np.stack([label, start]), axis=1, return_inverse=True)
            of = of.reshape(-1)
            amount = np.bincount(of, self.amount).astype(np.int64)
            quantity = np.bincount(of, self.quantity).astype(np.int64)
            largest = np.zeros(keys.shape[1], np.int64)
            np.maximum.at(largest, of, self.amount)
            values = np.stack([amount, quantity, np.bincount(of), largest], axis=1).tolist()
            for (name, begin), row in zip(keys.T.tolist(), values, strict=True):
                yield dimension, text % name, begin, row


def drawn(events: int, seed: int, stores: int = 400, windows: int = 60) -> Sales:
    chosen = np.random.default_rng(seed)
    in_order = _BEGIN_MS + np.arange(events, dtype=np.int64) * windows * WINDOW_MS // events
    return Sales(
        in_order - chosen.integers(0, _DISORDER_MS, events),
        (stores * chosen.random(events) ** 1.5).astype(np.int64),  # the first stores sell most
        chosen.integers(0, _CATEGORIES, events),
        chosen.integers(50, 20_000, events),
        chosen.integers(1, 6, events),
    )
