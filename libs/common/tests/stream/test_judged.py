"""The acceptance fold, record by record and a batch at a time; and records that no judge wrote."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.errors import Fatal
from dataforge.stream.judged import HEADER, Acceptance, Stamp, Verdict, stamps, unpack, verdict_of
from dataforge.stream.records import LogRecord


def record(src: int, base: int) -> LogRecord:
    return LogRecord(0, 0, None, b"", [(HEADER, Stamp(Verdict.VALID, src, base, 5, 6, 7, bytes(16)).pack())])


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3))), st.lists(st.integers(0, 20)))
def test_a_batch_is_accepted_as_its_records_are(claims: list[tuple[int, int]], cuts: list[int]) -> None:
    """`src`, and how far before it `base` is: zombies, repeats, sparse logs and gaps."""
    records = [record(src, max(0, src - behind)) for src, behind in claims]
    one, expected, gap = Acceptance(), [], None
    for at, each in enumerate(map(unpack, (r.headers for r in records))):
        following = one.next
        if one.accepts(each.base, each.src):
            expected.append(at)
            gap = None
        elif each.base > following:
            gap = at
    whole, found, last_gap = Acceptance(), [], None
    edges = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
    for begin, end in pairwise(edges):
        accepted, unseen = whole.accept(stamps(records[begin:end]))
        found += [begin + at for at in accepted]
        last_gap = begin + unseen if unseen is not None else None if len(accepted) else last_gap
    assert (found, whole.next, last_gap) == (expected, one.next, gap)


def test_a_log_without_repeats_is_accepted_whole() -> None:
    records = [record(src, base) for src, base in ((0, 0), (1, 1), (5, 2), (6, 6))]
    acceptance = Acceptance()
    accepted, gap = acceptance.accept(stamps(records))
    assert (list(accepted), gap, acceptance.next) == ([0, 1, 2, 3], None, 7)


def test_a_batch_says_what_each_of_its_stamps_says() -> None:
    said = Stamp(Verdict.UNDECODABLE, 2**40, 3, 4, 2**31, 2**32 - 1, bytes(range(16)))
    judged = LogRecord(0, 0, None, b"", [(HEADER, said.pack()), ("reason", b"utf8")])
    assert unpack(judged.headers) == said
    [tag], [src], [base], [ts] = stamps([judged])
    assert (verdict_of(tag), src, base, ts) == (said.verdict, said.src, said.base, said.ts)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("other", b"")],
        [("other", b""), *record(1, 1).headers],
        [(HEADER, b"")],
        [(HEADER, record(1, 1).headers[0][1] + b"x")],
        [(HEADER, b"\x0f" + record(1, 1).headers[0][1][1:])],
    ],
)
def test_a_record_that_no_judge_wrote_is_fatal(headers: list[tuple[str, bytes]]) -> None:
    foreign = LogRecord(0, 0, None, b"", headers)
    with pytest.raises(Fatal, match="only quality-worker"):
        unpack(headers)
    with pytest.raises(Fatal, match="only quality-worker"):
        stamps([record(0, 0), foreign])
