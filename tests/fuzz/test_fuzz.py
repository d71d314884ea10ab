"""A short form of `make fuzz`: tens of thousands of records, and every reason there is among their outcomes."""

from pathlib import Path

import pytest

from dataforge.contracts.load import load_domain
from dataforge.contracts.reasons import Reason
from dataforge.stream.judged import Verdict
from dataforge.stream.records import LogRecord

from fuzzing import NOW_MS, REASONS, RETAIL, fuzz
from quality_worker.judge import Judge

RECORDS = 30_000


async def test_every_fuzzed_record_has_one_outcome_and_every_reason_is_hit(tmp_path: Path) -> None:
    report = await fuzz(RECORDS, 20_261_121, tmp_path)
    assert report.records == RECORDS == sum(report.verdicts.values())
    assert report.mutations >= RECORDS / 2
    assert {reason for reason, hits in report.reasons.items() if hits >= 10} == REASONS
    assert report.outcomes["counted"] > RECORDS / 20
    assert report.outcomes["late"] > 0


@pytest.mark.parametrize("error", [ValueError("planned"), RecursionError(), MemoryError(), KeyError("f0")])
def test_a_mistake_of_the_judge_is_the_outcome_of_that_record_alone(error: Exception) -> None:
    """The one reason that no record may ever have, had by injection."""
    judge = Judge(load_domain(RETAIL).event("purchase"))
    good, real = b'{"event_id":"a"}', judge._read

    def fail(value: bytes) -> object:
        if value == good:
            raise error
        return real(value)

    judge._read = fail
    judgement = judge.judge(LogRecord(0, NOW_MS, b"k", good))
    assert (judgement.verdict, judgement.reason) == (Verdict.UNDECODABLE, Reason.JUDGE_ERROR)
    assert type(error).__name__ in judgement.detail
    assert judge.judge(LogRecord(1, NOW_MS, b"k", b"[]")).reason == Reason.WRONG_TYPE
