"""When two values of a window are the same. Pure.

Exact values are equal, to the last bit. Sketches of the same events may differ by the order in which they were fed; of
them is equal what the same events must make equal, and the rest is within what both state.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from dataforge.contracts.model import Measure, MeasureKind
from dataforge.kpi.columns import ALGEBRA, KLL_ERROR, ColumnKind, quantiles_of, top_of

_KINDS = {
    MeasureKind.DISTINCT: ColumnKind.HLL,
    MeasureKind.QUANTILES: ColumnKind.KLL,
    MeasureKind.TOP_K: ColumnKind.FREQUENT,
}


@dataclass(frozen=True, slots=True, eq=False)
class Sketched:
    """Quantiles or top-k of one window."""

    measure: Measure
    sketch: Any

    def shown(self) -> Any:
        if self.measure.kind is MeasureKind.QUANTILES:
            return quantiles_of(self.sketch, self.measure.quantiles)
        return top_of(self.sketch, self.measure.k)


def of_sketches(measure: Measure, stored: Iterable[bytes]) -> Any:
    """What sketches are together, as a value to be compared: of `distinct` a number."""
    algebra = ALGEBRA[_KINDS[measure.kind]]
    sketches = map(algebra.restore, stored)
    if measure.kind is MeasureKind.DISTINCT:
        return registers(sketches)
    return Sketched(measure, reduce(algebra.merge, sketches))


def registers(sketches: Iterable[Any]) -> float:
    """The estimate that sketches of `distinct` make together by their registers alone, not rounded.

    Others, the API's among them, also remember in which order a sketch came to its registers. This one is equal where
    the same was counted.
    """
    merge = ALGEBRA[ColumnKind.HLL].merge
    merged = reduce(merge, sketches)
    return merge(merged, merged).get_estimate()


def shown(value: Any) -> Any:
    return value.shown() if isinstance(value, Sketched) else value


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, Sketched) and isinstance(other, Sketched):
        return _SAME[one.measure.kind](one, other)
    return one == other


def _same_quantiles(one: Sketched, other: Sketched) -> bool:
    """As many values, the same least and largest; of few (nothing is left out yet) the same values; else no value is
    further from its rank in the other than both together may be wrong.
    """
    a, b = one.sketch, other.sketch
    if a.n != b.n or a.is_empty():
        return a.n == b.n
    if (a.get_min_value(), a.get_max_value()) != (b.get_min_value(), b.get_max_value()):
        return False
    if not a.is_estimation_mode() and not b.is_estimation_mode():
        return sorted(a) == sorted(b)
    probes = [sketch.get_quantile(rank) for sketch in (a, b) for rank in one.measure.quantiles]
    return all(_apart(_ranks(a, value), _ranks(b, value)) <= 2 * KLL_ERROR for value in probes)


def _ranks(sketch: Any, value: float) -> tuple[float, float]:
    """The share below a value, and the share not above it."""
    return sketch.get_rank(value, False), sketch.get_rank(value, True)


def _same_top(one: Sketched, other: Sketched) -> bool:
    """As many items in all, and of each item counts that can both be true."""
    a, b = one.sketch, other.sketch
    items = {item["item"] for value in (one, other) for item in top_of(value.sketch, value.sketch.num_active_items)}
    return a.total_weight == b.total_weight and all(_apart(_bounds(a, item), _bounds(b, item)) <= 0 for item in items)


def _bounds(sketch: Any, item: Any) -> tuple[float, float]:
    return sketch.get_lower_bound(item), sketch.get_upper_bound(item)


def _apart(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Between two intervals; not above 0 where they touch."""
    return max(a[0] - b[1], b[0] - a[1])


_SAME: Mapping[MeasureKind, Callable[[Sketched, Sketched], bool]] = {
    MeasureKind.QUANTILES: _same_quantiles,
    MeasureKind.TOP_K: _same_top,
}
