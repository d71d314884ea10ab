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
        for metric, value in _metrics(found, size, labels).items():
            values[metric, size, start, labels] = value
    return values, dict(outcomes)


def _metrics(found: list[dict[str, Any]], size: int, labels: tuple[str, ...]) -> dict[str, Any]:
    """The metrics kept by these labels: () is the total, a digit a shop, else a department."""
    cents = [round(Decimal(str(s["amount"])) * 100) for s in found]
    off = [round(Decimal(str(s["discount"])) * 100) for s in found if s.get("discount") is not None]
    values: dict[str, Any] = {"sales": len(found)}
    if not labels:
        values |= {
            "revenue": sum(cents) / 100,
            "discounts": len(off),
            "average": sum(off) / (len(off) * 100) if off else None,
            "cheapest": min(cents) / 100,
            "dearest": max(cents) / 100,
        }
        values |= {"big": sum(c >= 500 for c in cents)} if any(c >= 500 for c in cents) else {}
        values |= {"customers": len({s["customer"] for s in found})} if size == MINUTE else {}
    elif len(labels) == 1 and labels[0].isdigit():
        values["revenue"] = sum(cents) / 100
    elif len(labels) == 1:
        values["rate"] = sum(off) / (sum(cents) + sum(off)) if sum(cents) + sum(off) else None
    return values
