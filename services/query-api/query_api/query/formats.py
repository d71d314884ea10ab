"""`format_datetime`'s patterns (those of Joda-Time) as `strftime`'s. Pure."""

import re

from dataforge.sql.problem import SqlProblem

_LETTERS = {
    "yyyy": "%Y", "yy": "%y", "xxxx": "%G", "ww": "%V", "MMMM": "%B", "MMM": "%b", "MM": "%m", "M": "%-m",
    "dd": "%d", "d": "%-d", "DDD": "%j", "EEEE": "%A", "EEE": "%a", "e": "%u", "HH": "%H", "H": "%-H", "hh": "%I",
    "h": "%-I", "mm": "%M", "m": "%-M", "ss": "%S", "s": "%-S", "SSS": "%g", "SSSSSS": "%f", "a": "%p",
}  # fmt: skip
_PART = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|[^A-Za-z']+|'")


def strftime_of(pattern: str) -> str:
    """*Raises* `SqlProblem` where a part of it has no counterpart."""
    found: list[str] = []
    for part in _PART.finditer(pattern):
        text = part[0]
        if part[2]:
            if text not in _LETTERS:
                raise SqlProblem(f"format_datetime: {text!r} is not understood", f"there are: {', '.join(_LETTERS)}")
            found.append(_LETTERS[text])
        elif text == "'":
            raise SqlProblem("format_datetime: a quote in the pattern is not closed", "'' is a quote")
        else:
            found.append((part[1].replace("''", "'") or "'" if part[1] is not None else text).replace("%", "%%"))
    return "".join(found)
