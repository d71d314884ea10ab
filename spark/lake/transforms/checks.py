"""Which rules and expectations each row does not meet, all found in one pass over the rows.

A check means here what it means to quality-worker's judge. *Source*: docs/specs/domain.md, quality.yaml.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import and_
from typing import Any, Literal, NamedTuple

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dataforge.contracts.model import Check, Contract, EventType, Expectation, QualityRule
from dataforge.quality.report import RULE

from lake.schema import FAILED, quoted
from lake.transforms.measure import field_column, plain

_COMPARE: Mapping[str, Callable[[Column, Any], Column]] = {
    "minimum": lambda field, value: field >= value,
    "maximum": lambda field, value: field <= value,
    "exclusive_minimum": lambda field, value: field > value,
    "exclusive_maximum": lambda field, value: field < value,
    "in": lambda field, value: field.isin(*value),
    "not_in": lambda field, value: ~field.isin(*value),
}

_Known = dict[tuple[str, Any], Column]
"""(field, keys of a lookup) -> whether the field's value is among them."""


class RowCheck(NamedTuple):
    """A rule, or an expectation that each row by itself meets or does not."""

    name: str
    kind: str
    field: str
    holds: tuple[tuple[Check, Any], ...]
    """Of every value that is not null. None of them: the value must not be null."""
    severity: Literal["fail", "warn"]
    least: float | None
    """Share of the rows it is asked of that must meet it; None: it is only counted."""
    why: str

    def asked(self) -> Column:
        """Of which rows it is asked."""
        return field_column(self.field).isNotNull() if self.holds else F.lit(True)


def row_checks(event: EventType) -> tuple[RowCheck, ...]:
    """What the gate asks of each row that a write brings."""
    rules = (_of_rule(rule) for rule in event.rules)
    return (*rules, *(of_expectation(one) for one in event.expectations if one.kind.of_rows))


def _of_rule(rule: QualityRule) -> RowCheck:
    quarantines = rule.action == "quarantine"
    severity, least = ("fail", 1.0) if quarantines else ("warn", None)
    return RowCheck(rule.name, RULE, rule.field, ((rule.check, rule.value),), severity, least, rule.why)


def of_expectation(one: Expectation) -> RowCheck:
    return RowCheck(one.name, one.kind.value, one.fields[0], one.holds, one.severity, one.least, one.why)


def checked(rows: DataFrame, contract: Contract, checks: Sequence[RowCheck]) -> DataFrame:
    """*Shape*: adds `df_failed`, the names of the checks that a row does not meet, in their order. `rows`: typed."""
    names = rows.columns
    rows, known = _with_references(rows, checks)
    failed = (F.when(_broken(check, contract, known), F.lit(check.name)) for check in checks)
    marked = F.filter(F.array(*failed).cast(FAILED.type), lambda name: name.isNotNull())
    return rows.select(*(F.col(quoted(name)) for name in names), marked.alias(FAILED.name))


def fails(check: RowCheck) -> Column:
    """Of rows that are `checked`."""
    return F.array_contains(FAILED.name, check.name)


def _broken(check: RowCheck, contract: Contract, known: _Known) -> Column:
    value = field_column(check.field)
    if not check.holds:
        return value.isNull()
    holds = (_holds(value, kind, than, contract, check.field, known) for kind, than in check.holds)
    return value.isNotNull() & ~reduce(and_, holds)


def _holds(value: Column, kind: Check, than: Any, contract: Contract, field: str, known: _Known) -> Column:
    if kind == "in_lookup":
        return known[field, than]
    if kind == "matches":
        return _matching(than)(value)
    exact = contract.fields[field].scale > 0
    if isinstance(than, Iterable):
        return _COMPARE[kind](value, [plain(one, exact) for one in sorted(than, key=repr)])
    return _COMPARE[kind](value, plain(than, exact))


def _matching(pattern: re.Pattern[str]) -> Callable[[Column], Column]:
    """By Python, as the judge does: Java's patterns are others."""
    return F.udf(lambda text: None if text is None else pattern.search(text) is not None, "boolean")


def _with_references(rows: DataFrame, checks: Sequence[RowCheck]) -> tuple[DataFrame, _Known]:
    """The rows beside what they refer to."""
    known: _Known = {}
    for check in checks:
        for kind, keys in check.holds:
            if kind != "in_lookup" or (check.field, keys) in known:
                continue
            name = f"df_key_{len(known)}"
            # Keys are compared as text, as the judge compares them.
            held = rows.sparkSession.createDataFrame(
                pd.DataFrame({name: sorted(keys)}, dtype="object"), f"{name} string"
            )
            rows = rows.join(F.broadcast(held), field_column(check.field).cast("string") == F.col(name), "left")
            known[check.field, keys] = F.col(name).isNotNull()
    return rows, known
