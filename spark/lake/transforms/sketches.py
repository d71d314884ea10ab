"""Quantiles and top-k: the live numbers' own sketches, made and merged over Arrow. Spark has no function for them.

*Cost*: the values of one pane and label, or the sketches of one window and label, are in a worker's memory at once.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import BinaryType, DataType, StringType

from dataforge.contracts.model import Measure, MeasureKind
from dataforge.kpi.columns import ALGEBRA, ColumnKind, quantiles_of, top_of

KINDS = frozenset({ColumnKind.KLL, ColumnKind.FREQUENT})


def sketched(kind: ColumnKind, values: Column) -> Column:
    """An aggregate: the sketch of these values (doubles of KLL, else texts), nulls left out. *Shape*: binary, as the
    live numbers store it; never null.
    """
    return _each(partial(_made, kind), BinaryType())(F.collect_list(values))


def united(kind: ColumnKind, sketches: Column) -> Column:
    """An aggregate: what sketches are together."""
    return _each(partial(_together, kind), BinaryType())(F.collect_list(sketches))


def shown(measure: Measure, sketch: Column) -> Column:
    """What the API shows of a sketch, as JSON."""
    return _each(partial(_json, measure), StringType())(sketch)


def _each(function: Callable[[Any], Any], kind: DataType) -> Any:
    def apply(values: pd.Series) -> pd.Series:
        return pd.Series([function(value) for value in values], dtype="object")

    return pandas_udf(apply, kind)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _made(kind: ColumnKind, values: Any) -> bytes:
    algebra = ALGEBRA[kind]
    # Arrow's arrays are read-only, which the sketch does not take.
    pending = np.array(values, np.float64) if kind is ColumnKind.KLL else Counter(values)
    return algebra.store(algebra.absorb(algebra.held(), pending))


def _together(kind: ColumnKind, stored: Any) -> bytes:
    algebra = ALGEBRA[kind]
    return algebra.store(reduce(algebra.merge, map(algebra.restore, stored)))


def _json(measure: Measure, stored: bytes) -> str:
    if measure.kind is MeasureKind.QUANTILES:
        value: Any = quantiles_of(ALGEBRA[ColumnKind.KLL].restore(stored), measure.quantiles)
    else:
        value = top_of(ALGEBRA[ColumnKind.FREQUENT].restore(stored), measure.k)
    return msgspec.json.encode(value).decode()
