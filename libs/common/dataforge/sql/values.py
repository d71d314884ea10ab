"""What a caller gives for a query's parameters, as values of their types. Pure."""

import difflib
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from dataforge.contracts.model import Parameter
from dataforge.sql.problem import SqlProblem

MAX_ITEMS, MAX_CHARACTERS = 1_000, 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMS = {
    "date": "a date like '2026-01-05'",
    "timestamp": "an instant like '2026-01-05T10:00:00Z', or milliseconds since the epoch",
    "integer": "a whole number of at most 64 bits",
    "number": "a number",
    "text": "text",
    "enum": "text",
}


def values_of(parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each parameter, by its name. *Raises* `SqlProblem`."""
    for name in given:
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(parameters) or 'none'}"
            raise SqlProblem(f"there is no parameter {name!r}", hint)
    missing = [p for p in parameters.values() if p.required and p.name not in given]
    if missing:
        names = ", ".join(repr(p.name) for p in missing)
        raise SqlProblem(f"this needs {names}", f"{missing[0].name!r} is {form(missing[0])}")
    return {name: value_of(p, given[name]) if name in given else p.default for name, p in parameters.items()}


def value_of(parameter: Parameter, given: Any) -> Any:
    """*Raises* `SqlProblem`."""
    if given is None and parameter.nullable:
        return None
    if not parameter.many:
        return _one(parameter, given)
    if not isinstance(given, list | tuple):
        raise SqlProblem(f"{parameter.name!r} is {_shown(given)}", f"it must be {form(parameter)}")
    if len(given) > MAX_ITEMS:
        raise SqlProblem(f"{parameter.name!r} has {len(given):,} values", f"a list has at most {MAX_ITEMS:,}")
    return tuple(_one(parameter, each) for each in given)


def form(parameter: Parameter) -> str:
    """What it must be, in words."""
    one = f"one of {', '.join(parameter.allowed)}" if parameter.allowed else _FORMS[parameter.type]
    limits = [
        f"{word} {limit}"
        for word, limit in (("at least", parameter.minimum), ("at most", parameter.maximum))
        if limit is not None
    ]
    return " ".join([f"a list, each {one}" if parameter.many else one, *([", ".join(limits)] if limits else [])])


def _one(parameter: Parameter, given: Any) -> Any:
    try:
        value = _READ[parameter.type](given)
    except (ValueError, TypeError, OverflowError):
        raise SqlProblem(f"{parameter.name!r} is {_shown(given)}", f"it must be {form(parameter)}") from None
    if parameter.allowed and value not in parameter.allowed:
        near = difflib.get_close_matches(value, parameter.allowed, 1)
        hint = f"did you mean {near[0]}?" if near else f"it must be {form(parameter)}"
        raise SqlProblem(f"{parameter.name!r} is {_shown(given)}", hint)
    below = parameter.minimum is not None and value < parameter.minimum
    if below or (parameter.maximum is not None and value > parameter.maximum):
        raise SqlProblem(f"{parameter.name!r} is {_shown(given)}", f"it must be {form(parameter)}")
    return value


def _date(given: Any) -> date:
    if not isinstance(given, str) or len(given) != 10:
        raise ValueError
    return date.fromisoformat(given)


def _timestamp(given: Any) -> datetime:
    if isinstance(given, int) and not isinstance(given, bool):
        return _EPOCH + timedelta(milliseconds=given)
    if not isinstance(given, str):
        raise TypeError
    at = datetime.fromisoformat(given)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _integer(given: Any) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not -(2**63) <= given < 2**63:
        raise TypeError
    return given


def _number(given: Any) -> float:
    if not isinstance(given, int | float) or isinstance(given, bool) or not math.isfinite(given):
        raise TypeError
    return float(given)


def _text(given: Any) -> str:
    if not isinstance(given, str) or len(given) > MAX_CHARACTERS or "\0" in given:
        raise TypeError
    return given


_READ = {
    "date": _date,
    "timestamp": _timestamp,
    "integer": _integer,
    "number": _number,
    "text": _text,
    "enum": _text,
}


def _shown(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 60 else f"{text[:57]}..."
