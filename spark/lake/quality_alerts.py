"""Which alert a report makes due: what is broken now, held against what was before. Pure.

*Source*: docs/specs/alerts.md.
"""

from collections.abc import Mapping

from dataforge.alerts import Alert
from dataforge.contracts.model import Contract
from dataforge.quality.report import Finding, Report, Source

KINDS: Mapping[Source, str] = {"gate": "quality_gate_failed", "suite": "quality_failed"}
_TO_DO: Mapping[Source, str] = {
    "gate": "the table {domain}.quarantine_{event}_v{version} has the events and the rules, by df_checked",
    "suite": "GET /quality/latest?domain={domain} says what was observed; dataforge lake quality-docs DIR, since when",
}


def due(report: Report, before: Report | None, contract: Contract) -> list[Alert]:
    """Nothing where the same was broken before: it is told already. Both know what is still broken."""
    broken, broken_before = ({one.name for one in _all_broken(some)} if some else set() for some in (report, before))
    if broken == broken_before:
        return []
    if broken or before is None:
        return [_raised(report, contract)]
    return [_raised(before, contract).cleared(report.at_ms, f"{report.event}: all that is expected holds again")]


def _all_broken(report: Report) -> list[Finding]:
    return [*report.broken, *report.still_broken]


def _raised(report: Report, contract: Contract) -> Alert:
    to_do = _TO_DO[report.source]
    return Alert(
        kind=KINDS[report.source],
        at_ms=report.at_ms,
        message=f"{report.event}: {'; '.join(map(told, _all_broken(report)))}",
        what_to_do=to_do.format(domain=contract.domain, event=contract.event, version=contract.version),
        domain=contract.domain,
        topic=contract.raw_topic,
        details={
            "findings": [
                {"name": one.name, "observed": one.observed, "least": one.least, "most": one.most, "failed": one.failed}
                for one in _all_broken(report)
            ]
        },
    )


def told(one: Finding) -> str:
    """In words, with its numbers."""
    if one.failed is not None and one.least is not None:
        return f"{one.name}: {one.failed:,} of {one.rows:,} events do not hold, a share of {one.least:g} must"
    words = (("at least", one.least), ("at most", one.most))
    limits = [f"{word} {limit:g}" for word, limit in words if limit is not None]
    return f"{one.name}: {one.observed:g}, and it must be {' and '.join(limits)}"
