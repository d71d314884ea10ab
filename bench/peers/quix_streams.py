"""Quix Streams: tumbling windows by store and, through a repartition topic, by category.

Run as `python quix_streams.py BOOTSTRAP TOPIC PARTITIONS EVENTS`.
"""

import sys
import tempfile
import uuid

from quixstreams import Application
from quixstreams.dataframe.windows import Count, Max, Sum

from counted import GRACE_MS, WINDOW_MS, say

bootstrap, topic, events = sys.argv[1], sys.argv[2], int(sys.argv[4])
found: dict[tuple[str, str, int], list[int]] = {}
seen = {"store": 0, "category": 0}

with tempfile.TemporaryDirectory() as state:
    app = Application(
        broker_address=bootstrap,
        consumer_group=f"bench-{uuid.uuid4().hex[:8]}",
        auto_offset_reset="earliest",
        commit_interval=0.1,
        state_dir=state,
        loglevel="WARNING",
    )
    source = app.topic(
        topic, key_deserializer="str", value_deserializer="json", timestamp_extractor=lambda value, *_: value["at"]
    )

    def collect(dimension: str):
        def update(value, key, timestamp, headers) -> None:
            found[dimension, key, value["start"]] = [value["amount"], value["quantity"], value["count"], value["most"]]
            seen[dimension] += 1
            if seen["store"] == seen["category"] == events:
                app.stop()

        return update

    def windowed(frame, dimension: str) -> None:
        frame.tumbling_window(WINDOW_MS, grace_ms=GRACE_MS, name=dimension).agg(
            amount=Sum("amount"), quantity=Sum("quantity"), count=Count(), most=Max("amount")
        ).current().update(collect(dimension), metadata=True)

    sales = app.dataframe(source)
    windowed(sales, "store")
    by_category = sales.group_by("category", key_serializer="str", key_deserializer="str")
    # The repartition topic has its source's settings, so append times: event time is the value's again.
    windowed(by_category.set_timestamp(lambda value, *_: value["at"]), "category")
    app.run(**({} if events else {"timeout": 1}))

say((dimension, label, start, row) for (dimension, label, start), row in found.items())
