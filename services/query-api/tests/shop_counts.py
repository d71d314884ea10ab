"""What the shop's rows come to, counted in plain Python."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from typing import Any

from shop_lake import Row

Answer = list[tuple[Any, ...]]


def by(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return dict(sorted(found.items()))


def whole(over: int, by: int) -> int:
    """Towards zero."""
    return math.trunc(Decimal(over) / by)


def instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rounded(number: float | Decimal) -> int:
    """Half away from zero."""
    return int(Decimal(number).quantize(Decimal(1), ROUND_HALF_UP))


def month(at: datetime) -> date:
    return at.date().replace(day=1)


def months(first: datetime, last: datetime) -> int:
    """Whole months that have passed."""
    months = (last.year - first.year) * 12 + last.month - first.month
    return months - ((last.day, last.time()) < (first.day, first.time()))


def sums(rows: Sequence[Row]) -> Answer:
    return [
        (
            store, len(of), sum(r["quantity"] for r in of), sum((r["amount"] for r in of), Decimal(0)),
            min(r["amount"] for r in of), max(r["product"] for r in of), len({r["product"] for r in of}),
            sum(1 for r in of if r["gift"]), sum((r["amount"] for r in of if r["quantity"] > 1), Decimal(0)),
        )
        for store, of in by(rows, lambda r: r["store"]).items()
    ]  # fmt: skip


def running(rows: Sequence[Row]) -> Answer:
    found: Answer = []
    for store, of in by(rows, lambda r: r["store"]).items():
        in_order = sorted(of, key=lambda r: (r["at"], r["sale"]))
        total, before = 0, None
        for n, row in enumerate(in_order, 1):
            total += row["quantity"]
            last_three = sum(r["quantity"] for r in in_order[max(0, n - 3) : n])
            found.append((store, row["sale"], n, total, before, last_three, in_order[0]["sale"]))
            before = row["quantity"]
    return found


def ranks(rows: Sequence[Row]) -> Answer:
    counts = Counter(row["product"] for row in rows)
    levels = sorted(set(counts.values()), reverse=True)
    return [
        (product, n, 1 + sum(1 for other in counts.values() if other > n), 1 + levels.index(n))
        for product, n in sorted(counts.items())
    ]


def moments(rows: Sequence[Row]) -> Answer:
    weights = [r["weight"] for r in rows if r["weight"] is not None]
    pairs = [(r["weight"], float(r["quantity"])) for r in rows if r["weight"] is not None]
    return [
        (
            statistics.fmean(weights), statistics.stdev(weights), statistics.pstdev(weights),
            statistics.variance(weights), statistics.correlation(*zip(*pairs, strict=True)),
            statistics.fmean(r["quantity"] for r in rows),
        )
    ]  # fmt: skip


def rollup(rows: Sequence[Row]) -> Answer:
    each = [(store, gift, len(of)) for (store, gift), of in pairs(rows).items()]
    stores = [(store, None, len(of)) for store, of in by(rows, lambda r: r["store"]).items()]
    return [*((s, g, n, 0) for s, g, n in each), *((s, g, n, 1) for s, g, n in stores), (None, None, len(rows), 3)]


def pairs(rows: Sequence[Row]) -> dict[tuple[str, bool | None], list[Row]]:
    found: dict[tuple[str, bool | None], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["store"], row["gift"]].append(row)
    return found


def iso(at: datetime) -> tuple[int, int]:
    return at.isocalendar().week, at.isocalendar().weekday


def least_greatest(row: Row) -> tuple[Any, Any]:
    if row["weight"] is None:
        return None, None
    return min(row["weight"], 2.0), max(row["weight"], 2.0)


def in_time(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda r: r["at"])


def daily(rows: Sequence[Row]) -> dict[tuple[date, str], int]:
    found: dict[tuple[date, str], int] = defaultdict(int)
    for row in rows:
        found[row["at"].date(), row["store"]] += row["quantity"]
    return dict(sorted(found.items()))


def by_store_days(rows: Sequence[Row]) -> dict[str, list[date]]:
    keys = sorted({(r["store"], r["at"].date()) for r in rows})
    return {store: [day for _, day in of] for store, of in groupby(keys, key=lambda k: k[0])}
