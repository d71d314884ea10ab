"""A contract compiled once: decoding is validation (DESIGN R7).

msgspec checks what it can express, at C speed; what it cannot goes to jsonschema-rs, only for contracts that
ask for it. A projection decodes just some fields of an event that was judged valid already.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal, Protocol

import jsonschema_rs
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

from dataforge.contracts.model import Contract, Field
from dataforge.errors import DataForgeError

MAX_SAFE = 10**15
"""Scaled decimals stay within it: a double gives back 15 digits exactly. Towards 2**53 multiplying by the scale is
off by one now and then."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_TOP_KEYWORDS = {
    "$schema", "$id", "$comment", "title", "description", "examples", "type", "properties", "required",
    "additionalProperties", "x-dataforge",
}  # fmt: skip
_ANNOTATIONS = {
    "$comment",
    "title",
    "description",
    "examples",
    "default",
    "type",
    "x-scale",
    "x-time",
    "x-pii",
    "x-tenant",
    "x-renamed-from",
}
_BOUNDS = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"}
_KEYWORDS = {
    "string": {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"},
    "integer": {**_BOUNDS, "multipleOf": "multiple_of"},
    "number": _BOUNDS,
}
_PLAIN: dict[str, Any] = {"boolean": bool, "object": dict[str, Any], "array": list[Any]}


class UncompilableError(DataForgeError):
    """A contract that is a JSON Schema and cannot be used all the same. `field` is where, if it is in one field."""

    def __init__(self, message: str, field: str | None) -> None:
        super().__init__(message)
        self.field = field


class Decoder(Protocol):
    def decode(self, buf: bytes, /) -> Any: ...


def scaled(value: float, scale: int) -> int:
    """A decimal as a whole number of its last digit: 3.99 with scale 2 -> 399. The judge has checked that it is one."""
    return round(value * 10**scale)


def is_scaled(value: float, scale: int) -> bool:
    """Whether the value is a decimal of at most `scale` digits, small enough to be exact."""
    whole = value * 10**scale
    return -MAX_SAFE <= whole <= MAX_SAFE and round(whole) / 10**scale == value


def time_ms(contract: Contract) -> Callable[[Any], int]:
    """A decoded event time -> milliseconds since the epoch (finer parts are cut off)."""
    match contract.time_format:
        case "epoch_ms":
            return int
        case "epoch_s":
            return lambda value: value * 1_000
        case "date-time":
            return lambda value: (value - _EPOCH) // _MILLISECOND


@dataclass(frozen=True, slots=True)
class Compiled:
    """A contract's full check."""

    contract: Contract
    decoder: Decoder
    attributes: Mapping[str, str]
    """Field -> attribute of the decoded event."""
    optional: tuple[str, ...]
    """Attributes that are `UNSET` where the event has no such field."""
    decimals: tuple[tuple[str, str, int], ...]
    """(field, attribute, scale) of the decimals."""
    validate: Callable[[Any], str | None] | None
    """What is wrong with a decoded JSON value by the rest of the schema; None where msgspec says it all."""

    @property
    def fixed(self) -> bool:
        """Every field is always there, and none else may be: the number of keys is known."""
        return not self.optional


def compile_contract(contract: Contract) -> Compiled:
    closed = contract.schema.get("additionalProperties") is False
    attributes = attributes_of(contract.fields)
    struct = _struct(contract, contract.fields, attributes, constrained=True, closed=closed)
    validator = _validator(contract) if _beyond_msgspec(contract) else None
    return Compiled(
        contract,
        msgspec.json.Decoder(struct),
        attributes,
        tuple(attributes[f.name] for f in contract.fields.values() if not f.required),
        tuple((f.name, attributes[f.name], f.scale) for f in contract.fields.values() if f.scale),
        partial(_first_error, validator) if validator else None,
    )


def _validator(contract: Contract) -> Any:
    try:
        return jsonschema_rs.Draft202012Validator(dict(contract.schema), retriever=_no_retrieval)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        path = getattr(error, "instance_path", [])
        field = str(path[1]) if len(path) > 1 and path[0] == "properties" else None
        raise UncompilableError(getattr(error, "message", str(error)), field) from None


def _no_retrieval(uri: str) -> Any:
    raise ValueError(f"{uri} is not in the contract; a $ref can only point into the file itself")


@dataclass(frozen=True, slots=True)
class Projection:
    """Some fields of valid events, decoded leanly. A field that is not there reads as None."""

    decoder: Decoder
    attributes: Mapping[str, str]
    _list: Decoder

    def decode_all(self, values: Iterable[bytes]) -> list[Any]:
        """As `decoder.decode` of each, in one call. Only for what was judged valid: each is one whole document."""
        return self._list.decode(b"[%b]" % b",".join(values))


def projection(contract: Contract, names: Iterable[str]) -> Projection:
    fields = {name: contract.fields[name] for name in sorted(set(names))}
    attributes = attributes_of(fields)
    event = _struct(contract, fields, attributes, constrained=False, closed=False)
    return Projection(msgspec.json.Decoder(event), attributes, msgspec.json.Decoder(list[event]))


def attributes_of(fields: Iterable[str]) -> dict[str, str]:
    """Field names need not be Python names; attributes are f0, f1, …"""
    return {name: f"f{n}" for n, name in enumerate(sorted(fields))}


def _struct(
    contract: Contract, fields: Mapping[str, Field], attributes: Mapping[str, str], *, constrained: bool, closed: bool
) -> type[Struct]:
    columns: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for name, field in sorted(fields.items(), key=lambda item: not item[1].required):
        kind = _type(contract, field, contract.schema["properties"][name] if constrained else {})
        if field.nullable:
            kind = kind | None
        if field.required:
            columns.append((attributes[name], kind))
        elif constrained:
            columns.append((attributes[name], kind | UnsetType, UNSET))
        else:
            columns.append((attributes[name], kind | None, None))
    return defstruct(
        "Event",
        columns,
        rename={a: n for n, a in attributes.items()},
        forbid_unknown_fields=closed,
        frozen=True,
        gc=False,
    )


def _type(contract: Contract, field: Field, spec: Mapping[str, Any]) -> Any:
    if _is_date_time(contract, field):
        return Annotated[datetime, Meta(tz=True)]
    if field.type in _PLAIN:
        return _PLAIN[field.type]
    if _enum_of_text(field, spec):
        return Literal[tuple(v for v in spec["enum"] if v is not None)]
    plain = {"string": str, "integer": int, "number": float}[field.type]
    bounds = _bounds(field, spec) or {}
    if field.type == "integer":
        # Beyond 64 bits no reader of the lake could hold it. A bound of the contract may be narrower, not wider.
        if "gt" not in bounds:
            bounds["ge"] = max(bounds.get("ge", -(2**63)), -(2**63))
        if "lt" not in bounds:
            bounds["le"] = min(bounds.get("le", 2**63 - 1), 2**63 - 1)
    return Annotated[plain, Meta(**bounds)] if bounds else plain


def _bounds(field: Field, spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """The constraints as msgspec knows them; None where it cannot hold one (both limits of a side, a fraction for a
    whole number, a pattern of another dialect): jsonschema-rs then checks them all.
    """
    bounds = {to: spec[key] for key, to in _KEYWORDS.get(field.type, {}).items() if key in spec}
    try:
        kind = {"string": str, "integer": int, "number": float}.get(field.type)
        msgspec.json.Decoder(Annotated[kind, Meta(**bounds)] if bounds else Any)
    except (TypeError, ValueError, OverflowError, re.error):
        return None
    return bounds


def _is_date_time(contract: Contract, field: Field) -> bool:
    return field.name == contract.time_field and contract.time_format == "date-time"


def _enum_of_text(field: Field, spec: Mapping[str, Any]) -> bool:
    values = spec.get("enum", [None])
    return field.type == "string" and set(map(type, values)) in ({str}, {str, type(None)})


def _beyond_msgspec(contract: Contract) -> bool:
    """Whether the schema says anything that the struct does not check."""
    schema = contract.schema
    if set(schema) - _TOP_KEYWORDS or isinstance(schema.get("additionalProperties"), dict):
        return True
    for name, spec in schema["properties"].items():
        field = contract.fields[name]
        known = _ANNOTATIONS.copy()
        if not _is_date_time(contract, field) and _bounds(field, spec) is not None:
            known |= set(_KEYWORDS.get(field.type, ()))
        known |= {"enum"} if _enum_of_text(field, spec) and not _is_date_time(contract, field) else set()
        known |= {"format"}  # an annotation in JSON Schema; the event time's is checked by its type
        if set(spec) - known or any(isinstance(spec.get(k), dict) for k in known):
            return True
    return False


def _first_error(validator: Any, value: Any) -> str | None:
    for error in validator.iter_errors(value):
        path = "/".join(map(str, error.instance_path))
        return f"{path or 'the event'}: {error.message}"[:500]
    return None
