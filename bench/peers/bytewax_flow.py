"""Bytewax: one dataflow with recovery to SQLite. Run as `python bytewax_flow.py BOOTSTRAP TOPIC PARTITIONS EVENTS`."""

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bytewax.operators as op
import bytewax.operators.windowing as win
import orjson
from bytewax._bytewax import cli_main
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink

from counted import WINDOW_MS, say

bootstrap, topic = sys.argv[1], sys.argv[2]
EPOCH = datetime.fromtimestamp(0, UTC)
found: list = []


def keyed(message):
    sale = orjson.loads(message.value)
    return [(f"store {sale['store']}", sale), (sale["category"], sale)]


def time_of(sale) -> datetime:
    return datetime.fromtimestamp(sale["at"] / 1000, UTC)


def add(row, sale):
    amount = sale["amount"]
    row[0] += amount
    row[1] += sale["quantity"]
    row[2] += 1
    if amount > row[3]:
        row[3] = amount
    return row


def merge(left, right):
    return [left[0] + right[0], left[1] + right[1], left[2] + right[2], max(left[3], right[3])]


flow = Dataflow("sales")
messages = op.input("read", flow, KafkaSource([bootstrap], [topic], tail=False, batch_size=2000))
clock = EventClock(time_of, wait_for_system_duration=timedelta(seconds=60))
windower = TumblingWindower(length=timedelta(milliseconds=WINDOW_MS), align_to=EPOCH)
counted = win.fold_window(
    "count",
    op.flat_map("decode", messages, keyed),
    clock,
    windower,
    lambda: [0, 0, 0, 0],
    add,
    merge,
    ordered=False,
)
op.output("write", counted.down, TestingSink(found))

with tempfile.TemporaryDirectory() as state:
    init_db_dir(Path(state), 1)
    cli_main(flow, epoch_interval=timedelta(milliseconds=100), recovery_config=RecoveryConfig(state))
say(
    (
        "store" if key.startswith("store ") else "category",
        key.removeprefix("store "),
        window * WINDOW_MS,
        row,
    )
    for key, (window, row) in found
)
