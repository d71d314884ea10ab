"""The algebra of a metric: what is added up per window and label, and how two of them become one.

Three forms of the same thing. A *pending* value gathers one batch's events as cheaply as Python can
(an int, a set, a list, a dict). A *held* value is what a partition's owner keeps (an int, or a sketch).
A *stored* value is what Redis and the feed carry (an int, its digits where 64 bits are too few, or the
sketch's bytes).

*Guarantees*: `absorb` and `merge` are associative and commutative; bitwise so for count, sum, min and
max, within the sketch's stated error for the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from operator import add
from typing import Any

import datasketches
import numpy as np

from dataforge.contracts.model import OTHER, UNKNOWN

sketches: Any = datasketches
"""The package carries no type information."""

HLL_LG_K = 14
KLL_K = 400
FREQUENT_LG_MAX = 12
MAX_LABEL = 256
"""Characters of a label; whoever puts a page of text into a dimension shall not fill the store with it."""

HLL_ERROR = 4 * 0.0081
"""Stated relative error of `distinct`: four standard errors of a union at lg_k 14."""
KLL_ERROR = 0.02
"""Stated rank error of `quantiles`, above the published 99 % bound of k = 400 (0.0067)."""


class ColumnKind(StrEnum):
    COUNT = "count"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    HLL = "hll"
    KLL = "kll"
    FREQUENT = "frequent"


@dataclass(frozen=True, slots=True)
class Column:
    """One thing to add up. `terms` are (sign, field): one for most kinds, several for a ratio's sums."""

    kind: ColumnKind
    terms: tuple[tuple[int, str], ...] = ()
    scale: int = 0

    @property
    def name(self) -> str:
        inside = "".join(f"{'+' if sign > 0 else '-'}{field}" for sign, field in self.terms).removeprefix("+")
        return f"{self.kind}({inside})"


def label_text(value: Any) -> str:
    """A field's value as a label or a sketched item: null is `__unknown__`, booleans are JSON's, -0.0 is 0.0."""
    if value is None:
        return UNKNOWN
    if isinstance(value, float):
        # Both zeros are one key of a dict: which of them comes first in a batch must not name the row.
        return str(value + 0.0)
    return str(value).lower() if isinstance(value, bool) else str(value)


def short_label(value: Any) -> str:
    """As `label_text`, for what is stored and sent as text: one too long to be a label counts as `__other__`."""
    text = label_text(value)
    return text if len(text) <= MAX_LABEL else OTHER


def _hll(data: bytes | None = None) -> Any:
    return sketches.hll_sketch.deserialize(data) if data else sketches.hll_sketch(HLL_LG_K, sketches.tgt_hll_type.HLL_8)


def _kll(data: bytes | None = None) -> Any:
    return sketches.kll_doubles_sketch.deserialize(data) if data else sketches.kll_doubles_sketch(KLL_K)


def _frequent(data: bytes | None = None) -> Any:
    return (
        sketches.frequent_strings_sketch.deserialize(data)
        if data
        else sketches.frequent_strings_sketch(FREQUENT_LG_MAX)
    )


def _hll_absorb(held: Any, pending: set[Any]) -> Any:
    for value in pending:
        held.update(label_text(value))
    return held


def _hll_merge(a: Any, b: Any) -> Any:
    union = sketches.hll_union(HLL_LG_K)
    union.update(a)
    union.update(b)
    return union.get_result(sketches.tgt_hll_type.HLL_8)


def _kll_absorb(held: Any, pending: list[float]) -> Any:
    held.update(np.asarray(pending, dtype=np.float64))
    return held


def _kll_merge(a: Any, b: Any) -> Any:
    merged = _kll(a.serialize())
    merged.merge(b)
    return merged


def _frequent_absorb(held: Any, pending: dict[Any, int]) -> Any:
    for item, weight in pending.items():
        held.update(short_label(item), weight)
    return held


def _frequent_merge(a: Any, b: Any) -> Any:
    merged = _frequent(a.serialize())
    merged.merge(b)
    return merged


def _min(a: int | float | None, b: int | float | None) -> int | float | None:
    return b if a is None else a if b is None else min(a, b)


def _max(a: int | float | None, b: int | float | None) -> int | float | None:
    return b if a is None else a if b is None else max(a, b)


def _same(value: Any) -> Any:
    return value


def _store_sum(total: int) -> int | str:
    """MessagePack's integers end at 64 bits; a larger sum travels as its decimal digits."""
    return total if -(2**63) <= total < 2**64 else str(total)


@dataclass(frozen=True, slots=True)
class Algebra:
    held: Callable[[], Any]
    """An empty held value."""
    absorb: Callable[[Any, Any], Any]
    """(held, pending) -> held. May change its first argument."""
    merge: Callable[[Any, Any], Any]
    """(held, held) -> held. Changes neither."""
    store: Callable[[Any], Any]
    restore: Callable[[Any], Any]


def _zero() -> int:
    return 0


def _none() -> None:
    return None


ALGEBRA: dict[ColumnKind, Algebra] = {
    ColumnKind.COUNT: Algebra(_zero, add, add, _same, _same),
    ColumnKind.SUM: Algebra(_zero, add, add, _store_sum, int),
    ColumnKind.MIN: Algebra(_none, _min, _min, _same, _same),
    ColumnKind.MAX: Algebra(_none, _max, _max, _same, _same),
    ColumnKind.HLL: Algebra(_hll, _hll_absorb, _hll_merge, lambda s: s.serialize_compact(), _hll),
    ColumnKind.KLL: Algebra(_kll, _kll_absorb, _kll_merge, lambda s: s.serialize(), _kll),
    ColumnKind.FREQUENT: Algebra(_frequent, _frequent_absorb, _frequent_merge, lambda s: s.serialize(), _frequent),
}


def distinct_of(sketch: Any) -> int:
    """Estimate of an HLL, always from a union: a sketch fed by one stream uses another estimator."""
    union = sketches.hll_union(HLL_LG_K)
    union.update(sketch)
    return round(union.get_result(sketches.tgt_hll_type.HLL_8).get_estimate())


def quantiles_of(sketch: Any, ranks: tuple[float, ...]) -> dict[str, float | None]:
    return {f"p{rank * 100:g}": None if sketch.is_empty() else sketch.get_quantile(rank) for rank in ranks}


def top_of(sketch: Any, k: int) -> list[dict[str, str | int]]:
    """The k items with the largest estimates; each true count lies within [lower, upper]."""
    items = sketch.get_frequent_items(sketches.frequent_items_error_type.NO_FALSE_NEGATIVES)
    best = sorted(items, key=lambda item: (-item[1], item[0]))[:k]
    return [{"item": item, "estimate": est, "lower": low, "upper": up} for item, est, low, up in best]
