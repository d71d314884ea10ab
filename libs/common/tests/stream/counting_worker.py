"""A worker whose partitions count records in SQLite, state and position in one transaction, behind a claim.

Run as `python counting_worker.py TOPIC DATABASE`; settings by the environment, the database's tables are there. The
smallest honest owner of state under R2 and R3: what the transport gets wrong shows here as a missing or a repeated
offset.
"""

import secrets
import sqlite3
import sys

from dataforge.errors import Superseded
from dataforge.runtime.settings import ServiceSettings, load_settings
from dataforge.stream.app import StreamApp
from dataforge.stream.origin import Origin
from dataforge.stream.records import RecordBatch, TopicPartition
from dataforge.stream.work import Source


class Counting:
    """Buffers what it takes and commits it in `tick` and `close`, as an aggregator does."""

    def __init__(self, database: sqlite3.Connection, tp: TopicPartition) -> None:
        self.database, self.partition = database, tp.partition
        self.claim = secrets.token_hex(8)
        self.position = self.taken = 0
        self.rows: list[tuple[int, int, bytes | None]] = []

    @property
    def origin(self) -> Origin:
        return Origin()

    async def open(self) -> int:
        with self.database:
            self.database.execute("INSERT OR IGNORE INTO owner VALUES (?, NULL, 0)", (self.partition,))
            self.database.execute("UPDATE owner SET claim = ? WHERE partition = ?", (self.claim, self.partition))
            (self.position,) = self.database.execute(
                "SELECT position FROM owner WHERE partition = ?", (self.partition,)
            ).fetchone()
            self.database.execute("INSERT INTO opened VALUES (?, ?)", (self.partition, self.position))
        self.taken = self.position
        return self.position

    async def take(self, batch: RecordBatch) -> None:
        self.rows += [(self.partition, record.offset, record.value) for record in batch.records]
        self.taken = batch.next

    async def tick(self) -> None:
        if self.taken == self.position:
            return
        with self.database:
            done = self.database.execute(
                "UPDATE owner SET position = ? WHERE partition = ? AND claim = ? AND position = ?",
                (self.taken, self.partition, self.claim, self.position),
            )
            if done.rowcount != 1:
                raise Superseded(f"partition {self.partition} has another owner")
            self.database.executemany("INSERT INTO seen VALUES (?, ?, ?)", self.rows)
        self.position, self.rows = self.taken, []

    async def close(self) -> None:
        await self.tick()


def main() -> None:
    topic, path = sys.argv[1:]
    database = sqlite3.connect(path, timeout=30)
    database.execute("PRAGMA synchronous=OFF")
    settings = load_settings(ServiceSettings)
    source = Source("counting", [topic], lambda tp: Counting(database, tp))
    StreamApp("counting", settings, [source], group=topic).run()


if __name__ == "__main__":
    main()
