"""Valid records as typed rows: decoded by the contract's own decoder, the one that counting uses too (DESIGN R7).

So silver holds what the live numbers were made of, to the bit: which texts are a time, what a missing field is, how
a decimal is read are all said in one place, `dataforge.contracts.compile`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from dataforge.contracts.compile import projection, scaled, time_ms
from dataforge.contracts.model import Contract, Field

from lake.schema import LINEAGE, MAX_DIGITS, ddl, is_date_time, typed_columns

_UTC = pa.timestamp("us", tz="UTC")
_READ = ("ts", "partition", "offset", "judged_offset", "contract")
"""What a typed row takes over from bronze."""
_PLAIN = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}

Decode = Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]


def typed(valid: DataFrame, contract: Contract) -> DataFrame:
    """*Shape*: `typed_columns` of the contract, one row per row of `valid`, which are bronze's valid ones."""
    return valid.select("value", *_READ).mapInArrow(decoder(contract), ddl(typed_columns(contract)))


def decoder(contract: Contract) -> Decode:
    """For the workers. Compiled there, once a task."""

    def decode(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        read_by = of_any_age(contract)
        found = projection(read_by, read_by.fields)
        milliseconds = time_ms(contract)
        ids, times = (attrgetter(found.attributes[name]) for name in (contract.id_field, contract.time_field))
        fields = [(field, _reader(field, found.attributes)) for field in contract.fields.values()]
        names = [column.name for column in typed_columns(contract)]
        for batch in batches:
            events = found.decode_all(batch.column(0).to_pylist())
            lineage: dict[str, Any] = {f"df_{name}": batch.column(at) for at, name in enumerate(_READ, 1)}
            lineage["df_id"] = pa.array([str(id_) for id_ in map(ids, events)], pa.string())
            lineage["df_time"] = _instants([milliseconds(time) for time in map(times, events)])
            columns = [_column(contract, field, list(map(read, events))) for field, read in fields]
            yield pa.RecordBatch.from_arrays([*(lineage[c.name] for c in LINEAGE), *columns], names=names)

    return decode


def of_any_age(contract: Contract) -> Contract:
    """Bronze has what older contracts let through too: a field that was not there yet is null, and one that has been
    renamed is read by its older names.
    """
    names = {name: field for field in contract.fields.values() for name in (field.name, *field.renamed_from)}
    fields = {name: replace(field, name=name, required=False) for name, field in names.items()}
    return replace(contract, fields=fields)


def _reader(field: Field, attributes: Mapping[str, str]) -> Callable[[Any], Any]:
    """The field's value of a decoded event."""
    read, *older = (attrgetter(attributes[name]) for name in (field.name, *field.renamed_from))
    if not older:
        return read
    return lambda event: next((value for one in (read, *older) if (value := one(event)) is not None), None)


def _column(contract: Contract, field: Field, values: Sequence[Any]) -> pa.Array:
    if is_date_time(contract, field.name):
        return pa.array(values, _UTC)
    if field.scale:
        return _decimals([None if v is None else scaled(v, field.scale) for v in values], field.scale)
    if field.type in _PLAIN:
        return pa.array(values, _PLAIN[field.type])
    return pa.array([None if v is None else msgspec.json.encode(v).decode() for v in values], pa.string())


def _instants(at_ms: Sequence[int]) -> pa.Array:
    return pa.array(at_ms, pa.timestamp("ms", tz="UTC")).cast(_UTC)


def _decimals(scaled: Sequence[int | None], scale: int) -> pa.Array:
    """Whole numbers of the last digit as decimals, without a Python object for each: an Arrow decimal is such a number
    in 128 bits, little-endian.
    """
    whole = pa.array(scaled, pa.int64())
    low = whole.fill_null(0).to_numpy()
    words = np.empty((len(low), 2), "<i8")
    words[:, 0], words[:, 1] = low, low >> 63
    validity = whole.buffers()[0] if whole.null_count else None
    return pa.Array.from_buffers(
        pa.decimal128(MAX_DIGITS, scale), len(low), [validity, pa.py_buffer(words)], whole.null_count
    )
