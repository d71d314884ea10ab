"""What quality-worker said of a record, read from its headers. *Source*: docs/specs/log.md, the stamp.

In: any DataFrame of judged records with `headers` (list of name and value), from landing objects or from Kafka.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dataforge.stream.judged import HEADER, REASON, WARNINGS, Verdict, pack
from dataforge.stream.origin import NO_ID

_DETAIL = "detail"
_BYTES = len(pack(Verdict.VALID, 0, 0, 0, 0, 0, NO_ID))
_LAYOUT = "1"
SRC, BASE, _TS, _CONTRACT = (2, 8), (10, 8), (18, 8), (26, 4)
"""(first byte, bytes) of each number in a stamp, counted from 1. Big-endian."""
_UNSTAMPED = (
    "a record on a judged topic does not begin with a valid 'df' header: only quality-worker may write there; find "
    "the other producer, then recreate the topic"
)


def placed(judged: DataFrame) -> DataFrame:
    """*Shape*: adds `src` (raw offset) and `base`, which the acceptance fold reads. A query over a record that no
    judge wrote fails.
    """
    stamp = _stamp()
    return judged.withColumns({"src": _number(stamp, *SRC), "base": _number(stamp, *BASE)})


def packed(judged: DataFrame) -> DataFrame:
    """*Shape*: adds `stamp`, its bytes as they are; else as `placed`, for who reads all of them at once."""
    return judged.withColumn("stamp", _stamp())


def stamped(judged: DataFrame) -> DataFrame:
    """*Shape*: adds `ts_ms`, `contract`, `verdict`, `reason`, `detail` (null where nothing is said), `warnings` (empty
    where there are none). Fails as `placed` does.
    """
    stamp = _stamp()
    code = F.substring(F.hex(F.substring(stamp, 1, 1)), 1, 1)
    verdict = F.create_map(*(F.lit(part) for v in Verdict for part in (f"{v.value:X}", v.name.lower())))[code]
    warnings = F.filter(F.split(_text(WARNINGS), ","), lambda name: name != "")
    return judged.withColumns(
        {
            "ts_ms": _number(stamp, *_TS),
            "contract": _number(stamp, *_CONTRACT),
            "verdict": verdict,
            "reason": _text(REASON),
            "detail": _text(_DETAIL),
            "warnings": F.coalesce(warnings, F.array().cast("array<string>")),
        }
    )


def _stamp() -> Column:
    first = F.col("headers")[0]
    known = [f"{v.value:X}{_LAYOUT}" for v in Verdict]
    tag = F.hex(F.substring(first["value"], 1, 1))
    valid = (first["name"] == HEADER) & (F.octet_length(first["value"]) == _BYTES) & tag.isin(known)
    return F.when(F.coalesce(valid, F.lit(False)), first["value"]).otherwise(F.raise_error(F.lit(_UNSTAMPED)))


def _number(stamp: Column, first: int, size: int) -> Column:
    """Big-endian and never negative: through its digits, for Spark has no word for it."""
    return F.conv(F.hex(F.substring(stamp, first, size)), 16, 10).cast("bigint")


def _text(name: str) -> Column:
    # Nearly no record has more than its stamp, and looking through an array costs more than all else here.
    found = F.filter(F.col("headers"), lambda header: header["name"] == name)[0]["value"]
    return F.when(F.size("headers") > 1, F.decode(found, "UTF-8"))
