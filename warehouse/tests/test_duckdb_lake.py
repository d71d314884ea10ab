"""Which snapshots are shown, so that the layers of an event are at one state of the log."""

import json
from pathlib import Path
from typing import Any

import pytest

from duckdb_lake import Shown, consistent, locations, position, snapshot_at


def table(*history: dict[int, int] | None) -> dict[str, Any]:
    """A metadata file with these snapshots, the oldest first; None says no position."""
    snapshots = []
    for n, places in enumerate(history, 1):
        said = {} if places is None else {"df.position": json.dumps({p: {"position": at} for p, at in places.items()})}
        snapshots.append({"snapshot-id": n, "parent-snapshot-id": n - 1 or None, "summary": said})
    return {"current-snapshot-id": len(history) or -1, "snapshots": snapshots}


def test_silver_and_bronze_are_shown_as_gold_saw_them():
    shown = consistent(
        {
            "bronze_order_v1": table({0: 9}, {0: 20, 1: 5}),
            "silver_order_v1": table({0: 5}, {0: 9}, {0: 20}),
            "gold_order_v1": table({0: 5}, {0: 9}),
            "lookup_products": {"current-snapshot-id": 7, "snapshots": [{"snapshot-id": 7}]},
        }
    )
    assert shown == {
        "bronze_order_v1": Shown(None, '("partition" = 0 AND judged_offset < 9)'),
        "silver_order_v1": Shown(2),
        "gold_order_v1": Shown(None),
        "lookup_products": Shown(None),
    }


def test_what_a_compaction_wrote_is_where_its_parent_is():
    compacted = table({0: 5}, None, {0: 9}, None, None)
    assert (snapshot_at(compacted, {0: 5}), snapshot_at(compacted, {0: 9})) == (2, 5)
    assert position(compacted) == {0: 9}


def test_without_gold_all_is_shown_and_an_empty_table_is_not():
    assert consistent({"bronze_a_v1": table({0: 1}), "silver_a_v1": table({0: 1}), "gold_a_v1": table()}) == {
        "bronze_a_v1": Shown(None),
        "silver_a_v1": Shown(None),
    }


def test_gold_that_stands_where_silver_never_did_is_refused():
    with pytest.raises(RuntimeError, match="gold_a_v1 stands where no snapshot of silver_a_v1 does"):
        consistent({"silver_a_v1": table({0: 9}), "gold_a_v1": table({0: 5})})


def test_where_there_is_no_lake_it_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(RuntimeError, match="dataforge lake run all"):
        locations(tmp_path / "catalog.db", "retail")
