"""What the values of a query are, as far as that can be told from its text, and what of it the engines would not agree
about. Pure.
"""

from typing import Any, cast

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.schema import MappingSchema

from dataforge.sql.problem import SqlProblem

DIALECT = "athena"
DECIMAL, DATE, DOUBLE = exp.DType.DECIMAL, exp.DType.DATE, exp.DType.DOUBLE
FLOATS = frozenset({DOUBLE, exp.DType.FLOAT})
INTEGERS = frozenset({exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT})
TIMES = frozenset({DATE, exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ})
_AS_TEXT = INTEGERS | {DECIMAL, DATE, exp.DType.VARCHAR, exp.DType.CHAR, exp.DType.TEXT}
"""What reads the same in both engines as text."""


def _literal(annotator: Any, literal: exp.Literal) -> exp.Literal:
    """`0.5` is a decimal to Athena; the parser takes it for a double."""
    annotator._annotate_literal(literal)
    if not literal.is_string and "." in literal.this and "e" not in literal.this.lower():
        annotator._set_type(literal, DECIMAL)
    return literal


def _as_argument(annotator: Any, call: exp.Expr) -> exp.Expr:
    return annotator._annotate_by_args(call, "this")


_METADATA = cast(
    "Any",
    {
        **Dialect.get_or_raise(DIALECT).EXPRESSION_METADATA,
        exp.Literal: {"annotator": _literal},
        **{kind: {"annotator": _as_argument} for kind in (exp.TimestampTrunc, exp.DateTrunc, exp.ArgMax, exp.ArgMin)},
    },
)


def typed(tree: exp.Query, schema: MappingSchema) -> exp.Query:
    return annotate_types(tree, schema=schema, expression_metadata=_METADATA, dialect=DIALECT)


def kind(node: exp.Expr | None) -> exp.DType | None:
    """None where it cannot be told."""
    found = node.type.this if node is not None and isinstance(node.type, exp.DataType) else None
    return None if found is exp.DType.UNKNOWN else found


def disagreement(node: exp.Expr) -> SqlProblem | None:
    """Why the engines would answer differently, and what to write instead; None where they would not."""
    if isinstance(node, exp.Div):
        return _division(node)
    if isinstance(node, exp.Avg) and kind(node.this) is DECIMAL:
        return SqlProblem("avg of decimals is rounded to their digits by one engine only", "avg(CAST(x AS double))")
    if isinstance(node, exp.Sub) and kind(node.this) in TIMES and kind(node.expression) in TIMES:
        return SqlProblem("the difference of two times has no type that can be answered", "date_diff('second', a, b)")
    if isinstance(node, exp.Cast) and node.to.is_type(*exp.DataType.TEXT_TYPES):
        return _as_text(node)
    return None


def _as_text(node: exp.Cast) -> SqlProblem | None:
    if kind(node.this) not in _AS_TEXT and not isinstance(node.this, exp.Placeholder):
        return SqlProblem(
            "CAST to text writes this type in another way in each engine",
            "format times with date_format; round a double and CAST it to a decimal first",
        )
    return None


def _division(node: exp.Div) -> SqlProblem | None:
    sides = kind(node.this), kind(node.expression)
    if FLOATS & {*sides} or {*sides} <= INTEGERS:
        return None
    if None in sides:
        return SqlProblem("what is divided here has no type that can be told", "CAST it: CAST(x AS double)")
    return SqlProblem(
        "the quotient of decimals is rounded to their digits by one engine only", "divide by CAST(y AS double)"
    )
