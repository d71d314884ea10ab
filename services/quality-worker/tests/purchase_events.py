"""A good purchase, and its event type."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataforge.contracts.load import load_domain, load_domains
from dataforge.contracts.model import EventType

ROOT = Path(__file__).parents[3]
PURCHASE = load_domains([ROOT / "domains" / "retail"])[0].event("purchase")
NOW_MS = 1_795_248_000_000
GOOD: dict[str, Any] = {
    "event_id": "e-1",
    "occurred_at": "2026-11-21T07:59:59.123Z",
    "household_id": 900,
    "store_id": 330,
    "basket_id": 31198570044,
    "product_id": 1095275,
    "quantity": 1,
    "sales_value": 0.5,
    "retail_disc": 0.0,
    "coupon_disc": 0.1,
    "coupon_match_disc": 0.0,
    "week": 1,
}


def bytes_of(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).replace('": ', '":').encode()


def event_type(properties: Mapping[str, Any], required: Sequence[str], **keywords: Any) -> EventType:
    """An event `shop.sale.v1` with fields `id` and `at` and whatever else its schema says, read as from a folder."""
    notes = {"id": "id", "event_time": "at"}
    schema = {"type": "object", "x-dataforge": notes, "properties": properties, "required": required, **keywords}
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "shop"
        folder.mkdir()
        (folder / "sale.v1.json").write_text(json.dumps(schema))
        return load_domain(folder).event("sale")
