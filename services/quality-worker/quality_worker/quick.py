"""The checks of a good event as one expression, written out for its contract.

Most records are good, and each is asked the same few questions: loops over fields and rules would cost more than
the answers. So the questions become one compiled expression that says yes to good events only; whatever it
does not say yes to, the judge looks at again, slowly and with words (docs/adr/0005-compiled-fold.md has the idea).
"""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import UNSET

from dataforge.contracts.compile import MAX_SAFE, Compiled
from dataforge.contracts.model import EventType, QualityRule

Quick = Callable[[Any, int], bool]
"""(decoded event, append time in ms) -> True only where the event breaks nothing, not even a rule that warns."""
Quotes = Callable[[Any], int]
"""How many quotes a decoded event's keys and texts had around them."""

MAX_ID_LENGTH = 256
"""Ids are remembered in the state: a longer one is no id but a document."""

END_MS = 253_370_764_800_000
"""Of the event times there can be: from 1970, where watermarks begin, to 9998, so that every window has an end that
ISO 8601 can write."""

_COMPARE = {"minimum": ">=", "maximum": "<=", "exclusive_minimum": ">", "exclusive_maximum": "<"}


def compile_quick(event: EventType, compiled: Compiled) -> Quick:
    constants: dict[str, Any] = {"UNSET": UNSET}
    parts = [*_decimals(event, compiled), *_identity(event, compiled), _time(event, compiled)]
    parts += [_rule(rule, event, compiled, constants) for rule in event.rules]
    return _function("e, now", " and ".join(parts), constants)


def compile_quotes(event: EventType, compiled: Compiled) -> Quotes:
    """Objects and arrays count as if they were empty."""
    sure, open_ = 0, ""
    for name, field in event.contract.fields.items():
        value, text = f"e.{compiled.attributes[name]}", field.type == "string"
        if field.required and not (text and field.nullable):
            sure += 4 if text else 2
            continue
        if field.required:
            sure += 2
        else:
            open_ += f" + 2 * ({value} is not UNSET)"
        if text:
            open_ += f" + 2 * ({value} is not None and {value} is not UNSET)"
    return _function("e", f"{sure}{open_}", {"UNSET": UNSET})


def _function(arguments: str, expression: str, constants: dict[str, Any]) -> Any:
    """Names in the text are generated (`f0`, `K1`); whatever a domain's author wrote is a closed-over constant."""
    return eval(compile(f"lambda {arguments}: {expression}", "<quick judge>", "eval"), constants)  # noqa: S307


def _decimals(event: EventType, compiled: Compiled) -> Iterator[str]:
    for field, attribute, scale in compiled.decimals:
        value, unit = f"e.{attribute}", 10**scale
        test = f"not {value} or -{MAX_SAFE} <= (w := {value} * {unit}) <= {MAX_SAFE} and round(w) / {unit} == {value}"
        yield _passes(event, field, value, test)


def _identity(event: EventType, compiled: Compiled) -> Iterator[str]:
    name = event.contract.id_field
    if event.contract.fields[name].type == "string":
        yield f"0 < len(e.{compiled.attributes[name]}) <= {MAX_ID_LENGTH}"


def _time(event: EventType, compiled: Compiled) -> str:
    """Within the limits by more than a second: closer ones are for exact arithmetic."""
    contract = event.contract
    value = f"e.{compiled.attributes[contract.time_field]}"
    ms = {"epoch_ms": value, "epoch_s": f"{value} * 1000", "date-time": f"{value}.timestamp() * 1000"}
    within = f"{1_000 - contract.max_age_ms} < t - now < {contract.max_ahead_ms - 1_000}"
    return f"0 <= (t := {ms[contract.time_format]}) < {END_MS} and {within}"


def _rule(rule: QualityRule, event: EventType, compiled: Compiled, constants: dict[str, Any]) -> str:
    value, constant = f"e.{compiled.attributes[rule.field]}", f"K{len(constants)}"
    constants[constant] = rule.value
    match rule.check:
        case "in":
            test = f"{value} in {constant}"
        case "in_lookup":
            test = f"str({value}) in {constant}"
        case "not_in":
            test = f"{value} not in {constant}"
        case "matches":
            test = f"{constant}.search({value}) is not None"
        case _:
            test = f"{value} {_COMPARE[rule.check]} {constant}"
    return _passes(event, rule.field, value, test)


def _passes(event: EventType, field: str, value: str, test: str) -> str:
    """What is null or not there passes."""
    spec = event.contract.fields[field]
    nothing = [f"{value} is None"] * spec.nullable + [f"{value} is UNSET"] * (not spec.required)
    return f"({' or '.join([*nothing, test])})"
