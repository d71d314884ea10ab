"""Values of parameters: what fits, what does not, and what is said about it."""

from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.contracts.model import Parameter
from dataforge.sql.problem import SqlProblem
from dataforge.sql.values import MAX_ITEMS, value_of, values_of

AT = datetime(2026, 1, 5, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("parameter", "given", "value"),
    [
        (Parameter("p", "date"), "2026-01-05", date(2026, 1, 5)),
        (Parameter("p", "timestamp"), "2026-01-05T10:00:00Z", AT),
        (Parameter("p", "timestamp"), "2026-01-05T12:00:00+02:00", AT),
        (Parameter("p", "timestamp"), "2026-01-05 10:00:00", AT),
        (Parameter("p", "timestamp"), 1_767_607_200_000, AT),
        (Parameter("p", "integer", minimum=-5), -5, -5),
        (Parameter("p", "number"), 3, 3.0),
        (Parameter("p", "text"), "ü'; --", "ü'; --"),
        (Parameter("p", "enum", allowed=("day", "month")), "day", "day"),
        (Parameter("p", "integer", many=True), [3, 1], (3, 1)),
        (Parameter("p", "date", many=True), [], ()),
        (Parameter("p", "text", required=False), None, None),
    ],
)
def test_what_fits(parameter: Parameter, given: Any, value: Any):
    assert value_of(parameter, given) == value


@pytest.mark.parametrize(
    ("parameter", "given", "hint"),
    [
        (Parameter("p", "date"), "2026-1-5", "a date like"),
        (Parameter("p", "date"), "2026-02-30", "a date like"),
        (Parameter("p", "date"), 20_260_105, "a date like"),
        (Parameter("p", "date", minimum=date(2026, 1, 1)), "2025-12-31", "at least 2026-01-01"),
        (Parameter("p", "timestamp"), "yesterday", "an instant like"),
        (Parameter("p", "timestamp"), 10**20, "an instant like"),
        (Parameter("p", "timestamp"), True, "an instant like"),
        (Parameter("p", "integer"), 1.5, "a whole number"),
        (Parameter("p", "integer"), True, "a whole number"),
        (Parameter("p", "integer"), 2**63, "64 bits"),
        (Parameter("p", "integer", maximum=9), 10, "at most 9"),
        (Parameter("p", "number"), "1", "a number"),
        (Parameter("p", "number"), float("nan"), "a number"),
        (Parameter("p", "text"), 7, "text"),
        (Parameter("p", "text"), "\0", "text"),
        (Parameter("p", "text"), None, "text"),
        (Parameter("p", "enum", allowed=("day", "month")), "mnth", "did you mean month?"),
        (Parameter("p", "integer", many=True), 3, "a list, each"),
        (Parameter("p", "integer", many=True), [1, "x"], "a list, each"),
        (Parameter("p", "integer", many=True), [1] * (MAX_ITEMS + 1), "at most"),
    ],
)
def test_what_does_not(parameter: Parameter, given: Any, hint: str):
    with pytest.raises(SqlProblem) as caught:
        value_of(parameter, given)
    assert hint in caught.value.hint
    assert "'p'" in caught.value.message


DECLARED = {"since": Parameter("since", "date"), "top": Parameter("top", "integer", required=False, default=10)}


def test_defaults_are_taken_and_what_is_missing_or_unknown_is_named():
    assert values_of(DECLARED, {"since": "2026-01-05"}) == {"since": date(2026, 1, 5), "top": 10}
    with pytest.raises(SqlProblem, match=r"'since'.*a date like"):
        values_of(DECLARED, {})
    with pytest.raises(SqlProblem, match="did you mean since"):
        values_of(DECLARED, {"sinc": 1})


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)


@given(st.sampled_from(["date", "timestamp", "integer", "number", "text"]), st.booleans(), JSON)
def test_anything_is_a_value_or_a_problem(kind: Any, many: bool, given: Any):
    with suppress(SqlProblem):
        value_of(Parameter("p", kind, many), given)
