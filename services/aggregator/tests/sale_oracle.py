"""What the windows must hold, the slow and obvious way: one dict per metric, no sharing with the product."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec
from dataforge.stream.judged import Verdict, unpack
from dataforge.stream.records import LogRecord

from sale_events import DEPARTMENTS, LATENESS, MINUTE, SECOND


def expected(records: Iterable[LogRecord]) -> tuple[dict[tuple[Any, ...], Any], dict[str, int]]:
    """((metric, window size, start, labels) -> value, outcome -> count)."""
    sales: defaultdict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    outcomes: defaultdict[str, int] = defaultdict(int)
    following, watermark, seen = 0, 0, set()
    for record in records:
        stamp = unpack(record.headers)
        if not stamp.base <= following <= stamp.src:
            continue
        following = stamp.src + 1
        if stamp.verdict is not Verdict.VALID:
            outcomes["undecodable"] += 1
            continue
        s = msgspec.json.decode(record.value or b"")
        if s["id"] in seen:
            outcomes["duplicate"] += 1
            continue
        seen.add(s["id"])
        if s["at"] + LATENESS <= watermark:
            outcomes["late"] += 1
            continue
        outcomes["counted"] += 1
        watermark = max(watermark, min(s["at"], stamp.ts))
        department = DEPARTMENTS.get(str(s["product"]), "__unknown__")
        for size in (10 * SECOND, MINUTE):
            start = s["at"] // size * size
            for labels in ((), (str(s["shop"]),), (department,), (str(s["shop"]), department)):
                sales[size, start, labels].append(s)
    values: dict[tuple[Any, ...], Any] = {}
    for (size, start, labels), found in sales.items():
        cents = [round(Decimal(str(s["amount"])) * 100) for s in found]
        off = [round(Decimal(str(s["discount"])) * 100) for s in found if s.get("discount") is not None]
        values["sales", size, start, labels] = len(found)
        by_shop = labels and labels[0].isdigit() and len(labels) == 1
        if not labels or by_shop:
            values["revenue", size, start, labels] = sum(cents) / 100
        if not labels:
            values["discounts", size, start, labels] = len(off)
            values["average", size, start, labels] = sum(off) / (len(off) * 100) if off else None
            values["cheapest", size, start, labels] = min(cents) / 100
            values["dearest", size, start, labels] = max(cents) / 100
            if any(c >= 500 for c in cents):
                values["big", size, start, labels] = sum(c >= 500 for c in cents)
            if size == MINUTE:
                values["customers", size, start, labels] = len({s["customer"] for s in found})
        if len(labels) == 1 and not by_shop:
            values["rate", size, start, labels] = sum(off) / (sum(cents) + sum(off)) if sum(cents) + sum(off) else None
    return values, dict(outcomes)
