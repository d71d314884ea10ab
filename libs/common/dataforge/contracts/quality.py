"""Reads `quality.yaml`: rules beyond the contract, what breaking one means, and what the lake expects of all events."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from dataforge.contracts.contract import ContractFile
from dataforge.contracts.document import Node, Section, read_document
from dataforge.contracts.expectations import named_events, read_expectations
from dataforge.contracts.lookups import Lookups
from dataforge.contracts.model import Expectation, QualityRule
from dataforge.contracts.names import NAME_RULE, is_name
from dataforge.contracts.problems import Problems, suggestion
from dataforge.contracts.reasons import Reason

CHECKS = (
    "minimum", "maximum", "exclusive_minimum", "exclusive_maximum", "in", "not_in", "matches", "in_lookup",
)  # fmt: skip
_NUMERIC = CHECKS[:4]
ACTIONS = ("quarantine", "warn")


class QualityFile(NamedTuple):
    """Each by event, in the order of the file."""

    rules: Mapping[str, tuple[QualityRule, ...]]
    expectations: Mapping[str, tuple[Expectation, ...]]


def read_quality(
    folder: Path, contracts: Mapping[str, ContractFile], lookups: Lookups, problems: Problems
) -> QualityFile:
    rules: dict[str, list[QualityRule]] = {event: [] for event in contracts}
    expected: dict[str, list[Expectation]] = {event: [] for event in contracts}
    root = read_document(folder / "quality.yaml", problems)
    if root is not None:
        section = Section(root, "quality.yaml", problems)
        for node in section.sequence("rules"):
            entry = Section(node, "a rule", problems)
            rule = _rule(entry, lookups)
            events = _events(entry, rule, contracts)
            entry.finish()
            for event in events:
                rules[event] += [rule] if rule else []
        for event, found in read_expectations(section, contracts, lookups):
            expected[event].append(found)
        section.finish()
        for event in contracts:
            names = [one.name for one in (*rules[event], *expected[event])]
            for name in {n for n in names if names.count(n) > 1}:
                section.problem(f"two rules of {event} are named {name!r}")
    return QualityFile(
        {event: tuple(found) for event, found in rules.items()},
        {event: tuple(found) for event, found in expected.items()},
    )


def _rule(entry: Section, lookups: Lookups) -> QualityRule | None:
    name: Any = entry.scalar("name", str)
    field: Any = entry.scalar("field", str)
    action: Any = entry.scalar("action", str)
    why: Any = entry.scalar("why", str)
    check = entry.section("check")
    if name is not None and not is_name(name):
        entry.problem(f"rule {name!r}: a name is {NAME_RULE}", entry.get("name"))
    if name in set(Reason):
        entry.problem(f"rule {name!r}: that is a reason of the platform's own; take another name", entry.get("name"))
    if action is not None and action not in ACTIONS:
        entry.problem(f"rule {name!r}: 'action' is quarantine or warn, not {action!r}", entry.get("action"))
    if check is None or len(check.entries) != 1:
        entry.problem(f"rule {name!r} needs one 'check', like {{minimum: 0}}; there are: {', '.join(CHECKS)}")
        return None
    [(kind, value)] = list(check)
    plain = _value(kind, value, check, lookups)
    if None in (name, field, action, why, plain):
        return None
    return QualityRule(
        str(name), str(field), cast("Literal['minimum']", kind), plain, cast("Literal['warn']", action), str(why)
    )


def _value(kind: str, node: Node, check: Section, lookups: Lookups) -> Any:
    """What the check compares with: a number, a set of values, a compiled pattern, or a lookup's keys."""
    plain = node.plain
    if kind not in CHECKS:
        check.problem(f"there is no check {kind!r}{suggestion(kind, CHECKS)}", node)
    elif kind in _NUMERIC and isinstance(plain, int | float) and not isinstance(plain, bool) and math.isfinite(plain):
        return plain
    elif (
        kind in ("in", "not_in")
        and isinstance(plain, list)
        and plain
        and not any(isinstance(v, dict | list) for v in plain)
    ):
        return frozenset(plain)
    elif kind == "matches" and isinstance(plain, str):
        try:
            return re.compile(plain)
        except re.error as error:
            check.problem(f"{plain!r} is not a pattern: {error}", node)
    elif kind == "in_lookup" and isinstance(plain, str) and plain in lookups:
        return frozenset(next(iter(lookups[plain].values())))
    elif kind == "in_lookup":
        check.problem(f"lookups.yaml has no {plain!r}{suggestion(str(plain), lookups)}", node)
    else:
        needs = {"matches": "a pattern", "in": "a list of values", "not_in": "a list of values"}.get(kind, "a number")
        check.problem(f"{kind!r} needs {needs}, not {plain!r}", node)
    return None


def _events(entry: Section, rule: QualityRule | None, contracts: Mapping[str, ContractFile]) -> list[str]:
    """Every event that has the field, or the one the rule names."""
    chosen = named_events(entry, contracts)
    if rule is None:
        return []
    holders = [e for e in chosen if rule.field in contracts[e].fields]
    if chosen and not holders:
        known = {f for e in chosen for f in contracts[e].fields}
        entry.problem(
            f"rule {rule.name!r}: there is no field {rule.field!r}{suggestion(rule.field, known)}", entry.get("field")
        )
    for event in holders:
        if misuse := _misuse(rule, contracts[event]):
            entry.problem(f"rule {rule.name!r}: {misuse}", entry.get("check"))
    return holders


def _misuse(rule: QualityRule, contract: ContractFile) -> str | None:
    """Why the check cannot be made of that field; None where it can."""
    kind = contract.fields[rule.field].type
    if contract.is_date_time(rule.field):
        return f"{rule.field!r} is the event time; max_ahead and max_age of the contract limit it"
    needed: Mapping[str, tuple[str, ...]] = {
        **dict.fromkeys(_NUMERIC, ("integer", "number")),
        "matches": ("string",),
        "in_lookup": ("string", "integer"),
    }
    if kind not in needed.get(rule.check, (kind,)):
        return f"{rule.field!r} is a {kind}; {rule.check} needs a {' or '.join(needed[rule.check])}"
    values: Iterable[Any] = rule.value if rule.check in ("in", "not_in") else ()
    return next(filter(None, (contract.misfit(rule.field, value) for value in values)), None)
