"""Reads the section `lake` of `quality.yaml`: what the lake expects of the events of the last days, taken together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

from dataforge.contracts.contract import DAY_MS, ContractFile
from dataforge.contracts.document import Node, Section
from dataforge.contracts.lookups import Lookups
from dataforge.contracts.model import Check, Expectation, ExpectationKind
from dataforge.contracts.names import NAME_RULE, duration_ms, is_name
from dataforge.contracts.problems import suggestion

KINDS = tuple(kind.value for kind in ExpectationKind)
SEVERITIES = ("fail", "warn")
DEFAULT_DAYS = 28
HISTORY_DAYS = 3
"""Volume and drift compare a day with the days before it: with fewer than so many, nothing can be said."""

_ENDLESS = 1e300
"""A whole number of YAML may be larger than any a computer counts with."""
_NUMERIC = ("integer", "number")
_FIELDS: Mapping[ExpectationKind, tuple[str, ...]] = {
    ExpectationKind.RANGE: _NUMERIC,
    ExpectationKind.MEAN: _NUMERIC,
    ExpectationKind.REFERENCES: ("string", "integer"),
    ExpectationKind.DRIFT: (*_NUMERIC, "string", "boolean"),
}
"""The types of field that a kind can be asked of; the others can of every one."""


class _Limits(NamedTuple):
    least: float | None
    most: float | None
    holds: tuple[tuple[Check, Any], ...] = ()


def read_expectations(
    section: Section, contracts: Mapping[str, ContractFile], lookups: Lookups
) -> Iterator[tuple[str, Expectation]]:
    """(event, expectation), in the order of the file."""
    for node in section.sequence("lake"):
        entry = Section(node, "an expectation", section.problems)
        found = _expectation(entry, lookups)
        events = _events(entry, found, contracts)
        entry.finish()
        if found is not None:
            yield from ((event, found) for event in events)


def named_events(entry: Section, contracts: Mapping[str, ContractFile]) -> list[str]:
    """Those that an entry's `event` names; all where it names none."""
    named = cast("str | None", entry.scalar("event", str, None))
    if named is None:
        return list(contracts)
    chosen = [e for e in contracts if named in (e, e.rpartition(".v")[0])]
    if not chosen:
        entry.problem(f"'event' is {named!r}{suggestion(named, contracts)}", entry.get("event"))
    return chosen


def _expectation(entry: Section, lookups: Lookups) -> Expectation | None:
    before = len(entry.problems.found)
    name, severity, why = (entry.scalar(key, str) for key in ("name", "severity", "why"))
    if name is not None and not is_name(name):
        entry.problem(f"expectation {name!r}: a name is {NAME_RULE}", entry.get("name"))
    if severity is not None and severity not in SEVERITIES:
        entry.problem(f"expectation {name!r}: 'severity' is fail or warn, not {severity!r}", entry.get("severity"))
    expect = entry.section("expect")
    if expect is None or len(expect.entries) != 1:
        entry.problem(f"expectation {name!r} needs one 'expect', like {{freshness: {{at_most: 1h}}}}")
        return None
    [(word, node)] = list(expect)
    if word not in KINDS:
        expect.problem(f"there is no expectation {word!r}{suggestion(word, KINDS)}", node)
        return None
    kind, said = ExpectationKind(word), Section(node, f"expectation {name!r}: {word}", entry.problems)
    fields = _fields(kind, said)
    limits = _limits(kind, said, lookups)
    said.finish()
    days = _days(entry, kind)
    if len(entry.problems.found) > before:
        return None
    severity = cast("Literal['fail', 'warn']", severity)
    # YAML's 1 is as good a limit as 1.0; a column of doubles takes no other.
    least, most = (None if bound is None else float(bound) for bound in (limits.least, limits.most))
    return Expectation(str(name), kind, fields, least, most, days, severity, str(why), limits.holds)


def _fields(kind: ExpectationKind, said: Section) -> tuple[str, ...]:
    if kind in (ExpectationKind.FRESHNESS, ExpectationKind.VOLUME):
        return ()
    if kind is not ExpectationKind.UNIQUENESS:
        return (str(said.scalar("field", str)),)
    names = [node.plain for node in said.sequence("fields")]
    if not names or len(set(map(str, names))) < len(names) or not all(isinstance(name, str) for name in names):
        said.problem(f"{said.what} needs 'fields', a list of different fields", said.get("fields"))
    return tuple(map(str, names))


def _limits(kind: ExpectationKind, said: Section, lookups: Lookups) -> _Limits:
    match kind:
        case ExpectationKind.COMPLETENESS | ExpectationKind.UNIQUENESS:
            return _Limits(_share(said), None)
        case ExpectationKind.RANGE:
            bounds = _bounds(said)
            return _Limits(_share(said), None, tuple((cast("Check", check), bound) for check, bound in bounds.items()))
        case ExpectationKind.REFERENCES:
            return _Limits(_share(said), None, (("in_lookup", _keys(said, lookups)),))
        case ExpectationKind.MEAN:
            bounds = _bounds(said)
            return _Limits(bounds.get("minimum"), bounds.get("maximum"))
        case ExpectationKind.FRESHNESS:
            return _Limits(None, _duration_s(said))
        case ExpectationKind.VOLUME:
            within = _number(said, "within", above=1)
            return _Limits(1 / within, within)
        case ExpectationKind.DRIFT:
            return _Limits(None, _number(said, "at_most", above=0))


def _share(said: Section) -> float:
    share = said.scalar("at_least", (int, float), 1)
    if not 0 < share <= 1:
        said.problem(f"{said.what}: 'at_least' is a share above 0 and at most 1, not {share!r}", said.get("at_least"))
    return share


def _number(said: Section, key: str, *, above: float) -> float:
    """1 where it is no such number, which is a problem then."""
    number = said.scalar(key, (int, float))
    if number is not None and not above < number < _ENDLESS:
        said.problem(f"{said.what}: {key!r} is a number above {above}, not {number!r}", said.get(key))
        return 1
    return number or 1


def _bounds(said: Section) -> dict[str, float]:
    found = {key: said.scalar(key, (int, float), None) for key in ("minimum", "maximum")}
    bounds = {key: bound for key, bound in found.items() if bound is not None}
    if not bounds or not all(-_ENDLESS < bound < _ENDLESS for bound in bounds.values()):
        said.problem(f"{said.what} needs 'minimum', 'maximum' or both, as numbers")
    elif len(bounds) == 2 and bounds["minimum"] > bounds["maximum"]:
        said.problem(f"{said.what}: 'minimum' is above 'maximum'", said.get("minimum"))
    return bounds


def _keys(said: Section, lookups: Lookups) -> frozenset[str]:
    name = said.scalar("lookup", str)
    if name in lookups:
        return frozenset(next(iter(lookups[str(name)].values())))
    if name is not None:
        said.problem(f"lookups.yaml has no {name!r}{suggestion(name, lookups)}", said.get("lookup"))
    return frozenset()


def _duration_s(said: Section) -> float:
    text = said.scalar("at_most", str)
    found = duration_ms(text)
    if text is not None and found is None:
        said.problem(f"{said.what}: 'at_most' is a duration like 1h or 2d, not {text!r}", said.get("at_most"))
    return (found or 0) / 1_000


def _days(entry: Section, kind: ExpectationKind) -> int:
    if kind is ExpectationKind.FRESHNESS:
        return 0
    node: Node | None = entry.get("last")
    if node is None:
        return DEFAULT_DAYS
    found = duration_ms(node.plain)
    # Of volume and drift, one is the day that is compared and one the day that is not over.
    least = HISTORY_DAYS + 2 if kind in (ExpectationKind.VOLUME, ExpectationKind.DRIFT) else 1
    if found is None or found % DAY_MS or found // DAY_MS < least:
        entry.problem(f"{entry.what}: 'last' is whole days, at least {least}d, not {node.plain!r}", node)
        return DEFAULT_DAYS
    return found // DAY_MS


def _events(entry: Section, found: Expectation | None, contracts: Mapping[str, ContractFile]) -> list[str]:
    """Every event that has the fields, or the one the expectation names."""
    chosen = named_events(entry, contracts)
    if found is None:
        return []
    holders = [e for e in chosen if set(found.fields) <= set(contracts[e].fields)]
    if chosen and not holders:
        known = {field for e in chosen for field in contracts[e].fields}
        missing = next((field for field in found.fields if field not in known), found.fields[-1])
        entry.problem(
            f"expectation {found.name!r}: there is no field {missing!r}{suggestion(missing, known)}",
            entry.get("expect"),
        )
    for event in holders:
        for misuse in _misuses(found, found.fields, contracts[event]):
            entry.problem(f"expectation {found.name!r}: {misuse}", entry.get("expect"))
    return holders


def _misuses(found: Expectation, fields: Sequence[str], contract: ContractFile) -> Iterator[str]:
    """Why it cannot be asked of these fields."""
    for name in fields:
        kind = contract.fields[name].type
        needed = _FIELDS.get(found.kind, (kind,))
        if found.kind in _FIELDS and contract.is_date_time(name):
            yield f"{name!r} is the event time; freshness and volume are about it"
        elif kind not in needed:
            yield f"{name!r} is a {kind}; {found.kind} needs a {' or '.join(needed)}"
