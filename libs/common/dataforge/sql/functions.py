"""What a query may be made of. Everything else is refused, so that nothing reads a file, a setting or the network, and
nothing means one thing here and another in Athena.
"""

from sqlglot import exp

Kinds = frozenset[type[exp.Expr]]

STRUCTURE: Kinds = frozenset({
    exp.Select, exp.Union, exp.Except, exp.Intersect, exp.With, exp.CTE, exp.Subquery, exp.From, exp.Join, exp.Where,
    exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Offset, exp.Distinct, exp.Table, exp.TableAlias,
    exp.Identifier, exp.Column, exp.Alias, exp.Star, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.Tuple,
    exp.Values, exp.Unnest, exp.Cube, exp.Rollup, exp.GroupingSets, exp.Placeholder, exp.DataType, exp.DataTypeParam,
    exp.Interval, exp.Var, exp.Window, exp.WindowSpec, exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.Bracket,
    exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey, exp.JSONPathSubscript,
})  # fmt: skip
OPERATORS: Kinds = frozenset({
    exp.And, exp.Or, exp.Not, exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.DPipe, exp.EQ, exp.NEQ, exp.GT,
    exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Is, exp.In, exp.Between, exp.Like, exp.Escape,
    exp.Exists,
})  # fmt: skip
AGGREGATES: Kinds = frozenset({
    exp.Count, exp.CountIf, exp.Sum, exp.Min, exp.Max, exp.Avg, exp.ArgMax, exp.ArgMin, exp.ApproxDistinct,
    exp.ApproxQuantile, exp.Stddev, exp.StddevSamp, exp.StddevPop, exp.Variance, exp.VariancePop, exp.Corr,
    exp.LogicalAnd, exp.LogicalOr, exp.ArrayAgg, exp.GroupConcat, exp.Grouping,
})  # fmt: skip
WINDOWS: Kinds = frozenset({
    exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile, exp.Lag, exp.Lead,
    exp.FirstValue, exp.LastValue, exp.NthValue,
})  # fmt: skip
VALUES: Kinds = frozenset({
    exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Greatest, exp.Least, exp.Cast, exp.TryCast, exp.Abs, exp.Ceil,
    exp.Floor, exp.Round, exp.Trunc, exp.Pow, exp.Sqrt, exp.Exp, exp.Ln, exp.Log, exp.Sign,
    exp.Length, exp.Lower, exp.Upper, exp.Trim, exp.Substring, exp.StrPosition, exp.Concat, exp.Replace, exp.SplitPart,
    exp.Reverse, exp.Pad, exp.RegexpLike, exp.RegexpExtract, exp.JSONExtractScalar,
    exp.Array, exp.ArraySize, exp.ArrayContains, exp.ArrayToString, exp.ArraySort, exp.GenerateSeries,
})  # fmt: skip
VOLATILE: Kinds = frozenset({exp.CurrentDate, exp.CurrentTimestamp})
"""What makes the answer one of its moment."""
TIMES: Kinds = VOLATILE | {
    exp.TimestampTrunc, exp.DateTrunc, exp.DateAdd, exp.DateDiff, exp.Extract, exp.Year, exp.Quarter, exp.Month,
    exp.WeekOfYear, exp.Day, exp.DayOfWeekIso, exp.DayOfYear, exp.Hour, exp.Minute, exp.Second, exp.TimeToStr,
    exp.StrToTime, exp.FromISO8601Timestamp, exp.FromISO8601Date, exp.TimeToUnix, exp.UnixToTime, exp.Date, exp.LastDay,
}  # fmt: skip
ALLOWED = STRUCTURE | OPERATORS | AGGREGATES | WINDOWS | VALUES | TIMES

NAMED = frozenset({"format_datetime"})
"""Functions of Athena's that the parser has no kind of its own for."""
