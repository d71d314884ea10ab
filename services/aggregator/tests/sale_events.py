"""A small event type built by hand, and judged records of it."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from dataforge.contracts.model import (
    Condition,
    Contract,
    Dimension,
    EventType,
    Field,
    Measure,
    MeasureKind,
    Metric,
)
from dataforge.kpi.plan import plan
from dataforge.stream.judged import HEADER, REASON, Stamp, Verdict, fingerprint
from dataforge.stream.records import LogRecord

from aggregator.compile import Compiled
from aggregator.contribute import compile_contribution

SECOND, MINUTE = 1_000, 60_000
START = 1_700_000_040_000
LATENESS = 20 * SECOND
DEPARTMENTS = {"1": "dairy", "2": "bakery"}


class Sale(msgspec.Struct):
    id: str
    at: int
    shop: int
    product: int
    customer: str
    amount: float
    discount: float | None = None


_decoder = msgspec.json.Decoder(Sale)


def _decode(values: Sequence[bytes]) -> tuple[list[Sale], list[str], list[int]]:
    sales = [_decoder.decode(value) for value in values]
    return sales, [sale.id for sale in sales], [sale.at for sale in sales]


def _metric(name: str, measure: Measure, by: Sequence[tuple[str, ...]] = ((),), **more: Any) -> Metric:
    windows = (MINUTE,) if measure.kind.sketched else (10 * SECOND, MINUTE)
    return Metric(name, measure, tuple(by), windows, **more)


METRICS = [
    _metric("sales", Measure(MeasureKind.COUNT), [(), ("shop",), ("department",), ("shop", "department")]),
    _metric("revenue", Measure(MeasureKind.SUM, "amount"), [(), ("shop",)]),
    _metric("discounts", Measure(MeasureKind.COUNT, "discount")),
    _metric("average", Measure(MeasureKind.AVG, "discount")),
    _metric("cheapest", Measure(MeasureKind.MIN, "amount")),
    _metric("dearest", Measure(MeasureKind.MAX, "amount")),
    _metric(
        "rate",
        Measure(MeasureKind.RATIO, numerator=((1, "discount"),), denominator=((1, "amount"), (1, "discount"))),
        [("department",)],
    ),
    _metric("big", Measure(MeasureKind.COUNT), where=(Condition("amount", "ge", 5),)),
    _metric("customers", Measure(MeasureKind.DISTINCT, "customer")),
    _metric("amounts", Measure(MeasureKind.QUANTILES, "amount", quantiles=(0.5,))),
    _metric("top", Measure(MeasureKind.TOP_K, "product", k=2)),
]


def event_type(label_cap: int = 100, ttl_ms: int = 3_600_000) -> EventType:
    fields = {
        "id": Field("id", "string"),
        "at": Field("at", "integer"),
        "shop": Field("shop", "integer"),
        "product": Field("product", "integer"),
        "customer": Field("customer", "string"),
        "amount": Field("amount", "number", scale=2),
        "discount": Field("discount", "number", required=False, nullable=True, scale=2),
    }
    contract = Contract("shop", "sale", 1, {}, fields, "id", "at", "epoch_ms", None, 86_400_000, 86_400_000, 7)
    dimensions = {"shop": Dimension("shop", "shop"), "department": Dimension("department", "product", DEPARTMENTS)}
    metrics = {m.name: m for m in METRICS}
    return EventType(contract, (), dimensions, metrics, LATENESS, ttl_ms, label_cap, 10 * MINUTE)


def compiled(**changes: Any) -> Compiled:
    event = event_type(**changes)
    tables = plan(event)
    attributes = {name: name for name in event.contract.fields}
    return Compiled(event, tables, _decode, compile_contribution(tables, attributes), 1)


def judged(src: int, ts: int, sale: dict[str, Any] | None, *, base: int | None = None, reason: str = "") -> LogRecord:
    value = json.dumps(sale).encode() if sale is not None else b"?"
    verdict = Verdict.VALID if sale is not None else Verdict.UNDECODABLE
    stamp = Stamp(verdict, src, src if base is None else base, ts, 7, fingerprint(value), bytes(16))
    headers = [(HEADER, stamp.pack())] + ([(REASON, reason.encode())] if reason else [])
    return LogRecord(0, ts, None, value, headers)


def sale(event_id: str, at: int, **fields: Any) -> dict[str, Any]:
    return {"id": event_id, "at": at, "shop": 1, "product": 1, "customer": "c", "amount": 1.0} | fields


def numbered(records: Sequence[LogRecord]) -> list[LogRecord]:
    """The records as one partition of a log: offsets in order."""
    return [record._replace(offset=n) for n, record in enumerate(records)]


SHOP_TABLE = compiled().plan.view("sales", ("shop",)).table
TOTAL_TABLE = compiled().plan.view("sales").table
