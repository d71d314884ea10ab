"""The fold over a DataFrame accepts what the platform's own fold accepts, whatever the log looks like."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from dataforge.errors import Fatal
from dataforge.stream.judged import HEADER, Acceptance, Verdict, pack
from dataforge.stream.records import LogRecord

from lake.objects import JUDGED
from lake.transforms.accept import accepted, folded, folded_in_order, is_broken, runs, unbroken
from lake.transforms.stamp import packed, placed, stamped

pytestmark = pytest.mark.small

_BATCH = "spark.sql.execution.arrow.maxRecordsPerBatch"

_SCHEMA = ", ".join(f"{name} {kind}" for name, kind in JUDGED.items())


@st.composite
def judged_logs(draw: st.DrawFn) -> list[LogRecord]:
    """Stamps of several judges: in order mostly; repeated, late, and beyond what anybody has judged."""
    records: list[LogRecord] = []
    base = 0
    for n in range(draw(st.integers(0, 25))):
        match draw(st.sampled_from("oooooorlg")):
            case "o":
                src = base + draw(st.sampled_from([0, 0, 0, 2]))
                said = (base, src)
                base = src + 1
            case "r":  # a repeat, or an older judge's
                src = draw(st.integers(0, max(base - 1, 0)))
                said = (draw(st.integers(0, src)), src)
            case "l":  # from further back, and reaching beyond
                src = base + draw(st.integers(0, 3))
                said = (draw(st.integers(0, base)), src)
                base = draw(st.sampled_from([base, src + 1]))
            case _:  # a gap
                src = base + draw(st.integers(1, 9))
                said = (draw(st.integers(base + 1, src)), src)
        stamp = pack(Verdict.VALID, said[1], said[0], 1_000, 7, 0, bytes(16))
        records.append(LogRecord(3 * n, 1_000, None, b"{}", [(HEADER, stamp)]))
    return records


def rows(logs: Sequence[Sequence[LogRecord]]) -> list[tuple[object, ...]]:
    return [
        (partition, r.offset, r.timestamp, r.key, r.value, list(r.headers))
        for partition, log in enumerate(logs)
        for r in log
    ]


@given(st.lists(judged_logs(), min_size=1, max_size=12), st.integers(0, 6))
def test_it_accepts_what_the_platform_accepts(spark: SparkSession, logs: list[list[LogRecord]], following: int):
    judged = spark.createDataFrame(rows(logs), _SCHEMA).repartition(3)
    found = runs(folded(placed(judged), dict.fromkeys(range(len(logs)), following)))
    kept = {(row["partition"], row["offset"]) for row in accepted(judged, found).collect()}
    expected: set[tuple[int, int]] = set()
    for partition, log in enumerate(logs):
        acceptance = Acceptance(following)
        expected |= {(partition, record.offset) for record, _ in acceptance.accepted(log)}
        if log:
            assert next(run.next for run in found if run.partition == partition) == acceptance.next
    assert kept == expected


@given(judged_logs().filter(len), st.integers(0, 6))
def test_folded_where_it_is_read_it_comes_to_the_same(spark: SparkSession, log: list[LogRecord], following: int):
    judged = spark.createDataFrame(rows([log]), _SCHEMA).coalesce(1)
    spark.conf.set(_BATCH, "7")
    try:
        assert runs(folded_in_order(packed(judged), {0: following})) == runs(folded(placed(judged), {0: following}))
    finally:
        spark.conf.unset(_BATCH)


def test_what_is_not_in_order_is_not_folded_where_it_is_read(spark: SparkSession):
    log = [LogRecord(n, 0, None, b"", [(HEADER, pack(Verdict.VALID, n, n, 0, 7, 0, bytes(16)))]) for n in range(4)]
    for shuffled, problem in ((rows([log])[::-1], "in their order"), (rows([log, log]), "in their order")):
        with pytest.raises(Exception, match=problem):
            runs(folded_in_order(packed(spark.createDataFrame(shuffled, _SCHEMA).coalesce(1)), {}))
    torn = spark.createDataFrame(rows([log]), _SCHEMA).repartition(2, "offset")
    with pytest.raises(Fatal, match="in more than one task"):
        runs(folded_in_order(packed(torn.sortWithinPartitions("offset")), {}))


@st.composite
def nearly_unbroken(draw: st.DrawFn, start: int, following: int, otherwise: str = "nothing") -> list[LogRecord]:
    """The verdicts on the raw records from `following` on, from offset `start` on; or one thing is otherwise."""
    count = draw(st.integers(2, 9))
    said = [(start + n, following + n, following + n - draw(st.sampled_from([0, 0, 1]))) for n in range(count)]
    n = draw(st.integers(0, count - 1))
    offset, src, base = said[n]
    match otherwise:
        case "a hole":
            del said[n if n < count - 1 else 0]
        case "a repeat":
            said[n + 1 : n + 1] = [(offset, src, base)]
            said = [(start + at, *of) for at, (_, *of) in enumerate(said)]
        case "another's":
            said[n] = (offset, src + draw(st.sampled_from([1, 256, -1] if src else [1, 256])), base)
        case "a gap":
            said[n] = (offset, src, src + 1)
        case "all another's":
            said = [(at, claimed + 1, of) for at, claimed, of in said]
        case _:
            pass
    stamps = [pack(Verdict.VALID, max(src, 0), max(base, 0), 1_000, 7, 0, bytes(16)) for _, src, base in said]
    at = [offset for offset, _, _ in said]
    return [LogRecord(n, 1_000, None, b"{}", [(HEADER, stamp)]) for n, stamp in zip(at, stamps, strict=True)]


@pytest.mark.parametrize("otherwise", ["nothing", "a hole", "a repeat", "another's", "a gap", "all another's"])
@settings(max_examples=2)
@given(st.data(), st.integers(0, 300), st.integers(0, 300))
def test_what_the_fold_accepts_whole_is_unbroken_and_nothing_else(
    spark: SparkSession, otherwise: str, data: st.DataObject, start: int, following: int
):
    logs = [
        data.draw(nearly_unbroken(start, following, otherwise)),
        data.draw(nearly_unbroken(2 * start, following + 1)),
    ]
    starts, before = {0: start, 1: 2 * start}, {0: following, 1: following + 1}
    first, second = (
        spark.createDataFrame([row for row in rows(logs) if row[0] == p], _SCHEMA).coalesce(1) for p in (0, 1)
    )
    judged = first.union(second)
    offsets = {p: log[-1].offset + 1 - starts[p] for p, log in enumerate(logs)}
    whole = all(
        not run.rejected and run.next - before[run.partition] == run.records == offsets[run.partition]
        for run in runs(folded_in_order(packed(judged), before))
    )
    assert whole == (otherwise == "nothing")
    found = unbroken(packed(judged), starts, before)
    if whole:
        columns = ("partition", "offset", "src")
        assert found.select(*columns).collect() == placed(judged).select(*columns).collect()
    else:
        with pytest.raises(Exception, match="not each the verdict on the raw record after") as caught:
            found.collect()
        assert is_broken(caught.value)


@given(judged_logs(), st.data())
def test_a_log_taken_in_portions_is_the_log_taken_at_once(
    spark: SparkSession, log: list[LogRecord], data: st.DataObject
):
    cut = data.draw(st.integers(0, len(log)))
    kept: list[int] = []
    following: dict[int, int] = {}
    for portion in (log[:cut], log[cut:]):
        judged = spark.createDataFrame(rows([portion]), _SCHEMA)
        found = runs(folded(placed(judged), following))
        following |= {run.partition: run.next for run in found}
        kept += [row["offset"] for row in accepted(judged, found).collect()]
    assert sorted(kept) == [record.offset for record, _ in Acceptance().accepted(log)]


def test_a_gap_is_named_while_it_stands(spark: SparkSession):
    def log(*said: tuple[int, int]) -> list[LogRecord]:
        return [
            LogRecord(n, 0, None, b"", [(HEADER, pack(Verdict.VALID, src, base, 0, 7, 0, bytes(16)))])
            for n, (base, src) in enumerate(said)
        ]

    logs = [log((0, 0), (2, 2)), log((0, 0), (2, 2), (1, 1)), log((0, 0))]
    found = runs(folded(placed(spark.createDataFrame(rows(logs), _SCHEMA)), {}))
    assert {run.partition: run.gap for run in found} == {0: 1, 1: None, 2: None}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("other", b"\x01" * 49)],
        [(HEADER, b"x" * 49)],
        [(HEADER, b"\x01" * 48)],
        [("a", b""), (HEADER, b"\x01" * 49)],
    ],
)
def test_a_record_that_no_judge_wrote_ends_the_query(spark: SparkSession, headers: list[tuple[str, bytes]]):
    frame = spark.createDataFrame([(0, 0, 0, None, b"", headers)], _SCHEMA)
    with pytest.raises(Exception, match="only quality-worker may write there"):
        stamped(frame).collect()
    with pytest.raises(Exception, match="only quality-worker may write there"):
        unbroken(packed(frame), {0: 0}, {}).collect()
