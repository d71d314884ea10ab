"""A small domain folder that is right, to be made wrong in one place."""

import json
from pathlib import Path
from typing import Any

CONTRACT = """{
  "type": "object",
  "x-dataforge": {"id": "order", "event_time": "at", "key": "customer", "tenant": "customer"},
  "properties": {
    "order": {"type": "string", "minLength": 1},
    "at": {"type": "string", "format": "date-time"},
    "customer": {"type": "string"},
    "sku": {"type": "string"},
    "paid": {"type": "boolean"},
    "pieces": {"type": "integer", "minimum": 0},
    "amount": {"type": "number", "x-scale": 2},
    "weight": {"type": "number"},
    "tags": {"type": ["array", "null"]}
  },
  "required": ["order", "at", "customer", "sku", "amount"]
}
"""
METRICS = """lateness: 30s
dimensions:
  category: {field: sku, lookup: products.category}
  customer: {field: customer}
metrics:
  turnover:
    measure: {sum: amount}
    where: {paid: true, amount: {ge: 1, lt: 1000}, sku: {in: [A1, B2]}}
    by: [[], [category], [category, customer]]
    windows: [10s, 1m]
    rolling: [{size: 5m, every: 10s}]
    unit: EUR
  share: {measure: {ratio: {of: [amount, -pieces], to: amount}}, windows: [1m]}
  best: {measure: {top_k: {field: category, k: 3}}, windows: [1m, 1h]}
"""
QUALITY = """rules:
  - name: too_dear
    field: amount
    check: {maximum: 10000}
    action: warn
    why: Nobody pays that much.
"""
LAKE = """lake:
  - {name: weighed, expect: {completeness: {field: weight, at_least: 0.9}}, severity: warn, why: It is sent., last: 7d}
  - {name: cheap, expect: {range: {field: amount, minimum: 0, maximum: 500, at_least: 0.99}}, severity: fail, why: Tea.}
  - {name: known, expect: {references: {field: sku, lookup: products}}, severity: fail, why: It is ours., event: order}
  - {name: once, expect: {uniqueness: {fields: [customer, sku]}}, severity: warn, why: Nobody buys twice.}
  - {name: usual, expect: {mean: {field: pieces, minimum: 1}}, severity: warn, why: No baskets of nothing.}
  - {name: awake, expect: {freshness: {at_most: 1h}}, severity: fail, why: Somebody always drinks tea.}
  - {name: steady, expect: {volume: {within: 4}}, severity: fail, why: No day has four times another's., last: 14d}
  - {name: same, expect: {drift: {field: amount, at_most: 0.2}}, severity: warn, why: Prices change slowly.}
"""
FILES = {
    "order.v1.json": CONTRACT,
    "metrics.yaml": METRICS,
    "quality.yaml": QUALITY,
    "lookups.yaml": "products: {source: products.csv, key: sku, columns: [category]}\n",
    "products.csv": "sku,category\nA1,tea\n007,coffee\nC3,\n",
    "domain.yaml": "description: A shop\npartitions: 2\n",
}


def write_shop(parent: Path, **changed: str | None) -> Path:
    """The folder `shop`. `changed`: file name with `__` for `.` -> its text, or None for a file that is not there."""
    folder = parent / "shop"
    folder.mkdir(parents=True)
    texts: dict[str, str | None] = {**FILES, **{name.replace("__", "."): text for name, text in changed.items()}}
    for name, text in texts.items():
        if text is not None:
            (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    return folder


def contract_with(**properties: Any) -> str:
    """The contract with more fields."""
    schema = json.loads(CONTRACT)
    schema["properties"] |= properties
    return json.dumps(schema, indent=1)
