"""Stock Faust: one agent, two tables with changelog topics.

Run as `python stock_faust.py BOOTSTRAP TOPIC PARTITIONS EVENTS`. The window is part of the key: Faust's own windowed
tables cost several times as much. Each partition has rows of its own, so that every row has one changelog partition;
they are added up at the end.
"""

import asyncio
import gc
import os
import signal
import sys
import tempfile
import uuid

import faust
import mode.loop

from counted import WINDOW_MS, Merged, say

bootstrap, topic, partitions, events = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
folder = tempfile.TemporaryDirectory()
app = faust.App(
    f"bench-{uuid.uuid4().hex[:8]}",
    broker=f"kafka://{bootstrap}",
    store="memory://",
    datadir=folder.name,
    topic_partitions=partitions,
    topic_replication_factor=1,
    table_standby_replicas=0,
    broker_commit_interval=0.1,
    broker_max_poll_records=2000,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
)
sales = app.topic(topic, key_serializer="raw", value_serializer="json")
by_store = app.Table("by_store", default=lambda: [0, 0, 0, 0], partitions=partitions)
by_category = app.Table("by_category", default=lambda: [0, 0, 0, 0], partitions=partitions)
seen = 0


@app.agent(sales)
async def count(stream):
    global seen
    async for event in stream.events():
        sale, partition = event.value, event.message.partition
        start, amount, quantity = sale["at"] - sale["at"] % WINDOW_MS, sale["amount"], sale["quantity"]
        for table, label in ((by_store, sale["store"]), (by_category, sale["category"])):
            key = f"{label}|{start}|{partition}"
            row = table[key]
            table[key] = [row[0] + amount, row[1] + quantity, row[2] + 1, max(row[3], amount)]
        seen += 1
        if seen == events:
            finish()


@app.task
async def stop_where_there_is_nothing() -> None:
    while not events and not app.consumer.assignment():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)
    if not events:
        finish()


def finish() -> None:
    merged = Merged()
    for dimension, table in (("store", by_store), ("category", by_category)):
        for key, row in table.items():
            label, start, _ = key.split("|")
            merged.add(dimension, label, int(start), row)
    say(merged.rows())
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    # As ours: without both it is slower.
    gc.set_threshold(50_000, 50, 100)
    mode.loop.use("uvloop")
    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()
