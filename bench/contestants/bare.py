"""The bare loop: aiokafka's `getmany`, msgspec, and the fold in dicts. No state store, dedupe, watermark or acceptance.

Run as `python bare.py BOOTSTRAP TOPIC PARTITIONS EVENTS`.
"""

import gc
import sys

import msgspec
import uvloop
from polling import polled

from counted import WINDOW_MS, say


class Sale(msgspec.Struct):
    at: int
    store: int
    category: str
    amount: int
    quantity: int


async def read(bootstrap: str, topic: str, partitions: int, events: int) -> None:
    decode = msgspec.json.Decoder(Sale).decode
    folded: dict[tuple[int | str, int], list[int]] = {}
    """By store, a number, and by category, a text."""
    async for poll in polled(bootstrap, topic, partitions, events):
        for records in poll.values():
            for record in records:
                sale = decode(record.value or b"")
                start, amount = sale.at - sale.at % WINDOW_MS, sale.amount
                for label in (sale.store, sale.category):
                    row = folded.get((label, start))
                    if row is None:
                        folded[label, start] = [amount, sale.quantity, 1, amount]
                    else:
                        row[0] += amount
                        row[1] += sale.quantity
                        row[2] += 1
                        if amount > row[3]:
                            row[3] = amount
    say(
        ("store" if isinstance(label, int) else "category", str(label), start, values)
        for (label, start), values in folded.items()
    )


if __name__ == "__main__":
    # As the aggregator does: thousands of records are alive at any time.
    gc.set_threshold(50_000, 50, 100)
    uvloop.run(read(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
