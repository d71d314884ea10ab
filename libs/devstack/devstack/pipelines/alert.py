"""A pipeline that failed, as an alert; and that it went well again."""

import time
from collections.abc import Sequence

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from dataforge.alerts import Alert
from dataforge.errors import Transient
from dataforge.ledger.book import KafkaBook

from devstack.pipelines.report import Report, StepReport

KIND = "pipeline_failed"
RUNBOOK = "docs/runbooks/nightly_failed.md"
_ALERT_S = 15


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def failure(pipeline: str, failed: Sequence[StepReport], skipped: Sequence[str], at_ms: int) -> Alert:
    """`failed` holds one step at least, in their order. Pure."""
    steps = ", ".join(f"{step.step} (attempts: {step.attempts})" for step in failed)
    first = failed[0]
    last_line = first.said.rpartition("\n")[2]
    message = f"{pipeline} failed at {steps}" + (f": {last_line}" if last_line else "")
    if skipped:
        message += f"; not begun: {', '.join(skipped)}"
    again = f"dataforge lake nightly --pipeline {pipeline} --from {first.step}"
    return Alert(
        kind=KIND,
        at_ms=at_ms,
        pipeline=pipeline,
        message=message,
        what_to_do=f"read what it said ({first.log or 'the log of its task'}) and {RUNBOOK}; then `{again}`",
        details={
            "failed": [{"step": step.step, "attempts": step.attempts, "said": step.said} for step in failed],
            "skipped": list(skipped),
        },
    )


def outcome(report: Report, at_ms: int) -> Alert | None:
    """What a run has to say; None where all went well. Pure."""
    failed = report.of("failed")
    return failure(report.pipeline, failed, [step.step for step in report.of("skipped")], at_ms) if failed else None


async def send(bootstrap: str, alert: Alert) -> None:
    """*Raises* `Transient` where it may not be in the log after all."""
    book = KafkaBook(bootstrap)
    try:
        await _patiently(book.send)(alert)
    finally:
        await book.close()


async def settle(bootstrap: str, pipeline: str) -> bool:
    """Clear its alert, if one stands. Returns whether one did. *Raises* `Transient`."""
    book = KafkaBook(bootstrap)
    try:
        found = (await _patiently(book.known)()).get(f"{KIND}/{pipeline}")
        if found is None or found.state == "cleared":
            return False
        await _patiently(book.send)(found.cleared(now_ms(), f"{pipeline} went through"))
        return True
    finally:
        await book.close()


_patiently = retry(
    retry=retry_if_exception_type(Transient), stop=stop_after_delay(_ALERT_S), wait=wait_fixed(0.5), reraise=True
)
