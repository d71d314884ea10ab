"""Purchases as the bytes that go on the topic (docs: domains/retail/purchase.v1.json). Pure."""

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from devstack.replay.malformed import Event, event_ms_of, make
from devstack.replay.plan import KIND_NAMES
from devstack.replay.purchases import Column, Purchases


class Purchase(msgspec.Struct):
    event_id: str
    household_id: int
    store_id: int
    basket_id: int
    product_id: int
    quantity: int
    sales_value: float
    retail_disc: float
    coupon_disc: float
    coupon_match_disc: float
    week: int
    occurred_at: str


_FIELDS = Purchase.__struct_fields__[1:-1]
_encode = msgspec.json.Encoder().encode


def timestamps(epoch_ms: Column) -> list[str]:
    """ISO 8601 in UTC with milliseconds, e.g. `2026-11-21T08:00:00.000Z`."""
    return [f"{t}Z" for t in np.datetime_as_string(epoch_ms.astype("datetime64[ms]"), unit="ms").tolist()]


def keys(household_id: Column) -> list[bytes]:
    return [b"%d" % h for h in household_id.tolist()]


def encode(purchases: Purchases, index: Column, event_ms: Column, pass_: int) -> list[bytes]:
    """One value per element of `index`."""
    return [_encode(purchase) for purchase in _purchases(purchases, index, event_ms, pass_)]


def encode_malformed(
    purchases: Purchases, index: Column, kind: Column, planned_ms: Column, number: Column, pass_: int
) -> list[bytes | None]:
    """One value per element; `number` makes their event ids different from everyone else's."""
    names = [KIND_NAMES[k] for k in kind.tolist()]
    event_ms = np.array([event_ms_of(n, ms) for n, ms in zip(names, planned_ms.tolist(), strict=True)], dtype=np.int64)
    values: list[bytes | None] = []
    for name, n, good in zip(names, number.tolist(), _purchases(purchases, index, event_ms, pass_), strict=True):
        event: Event = msgspec.to_builtins(good)
        event["event_id"] = f"cj{pass_}-malformed-{n}"
        values.append(make(name, event))
    return values


def event_ids(purchases: Purchases, index: Column, pass_: int) -> list[str]:
    """The same purchase in the same pass always has the same id."""
    rows, baskets, products = (c[index].tolist() for c in (purchases.row, purchases.basket_id, purchases.product_id))
    return [f"cj{pass_}-{r}-{b}-{p}" for r, b, p in zip(rows, baskets, products, strict=True)]


def _purchases(purchases: Purchases, index: Column, event_ms: Column, pass_: int) -> Iterable[Purchase]:
    columns: list[list[Any]] = [getattr(purchases, name)[index].tolist() for name in _FIELDS]
    return map(Purchase, event_ids(purchases, index, pass_), *columns, timestamps(event_ms))
