"""The report of a chaos run. Pure."""

from typing import Any

import msgspec

from devstack.chaos.verdict import Verdict


class Hit(msgspec.Struct, kw_only=True):
    """One fault that happened. *Units*: seconds; `at_s` from the first record sent."""

    number: int
    kind: str
    victim: str
    at_s: float
    in_force_s: float
    overlaps: bool
    """Planned to begin while the fault before was in force, or had just been."""
    stages: dict[str, float | None] = {}
    """Stage -> seconds from the heal of the last overlapping fault until it had moved on past the log end of then."""
    in_flight: dict[str, Any] = {}
    """What showed, just before, that the platform had work in hand."""
    evidence: dict[str, Any] = {}
    """What shows that the fault took effect."""

    @property
    def slowest_s(self) -> float:
        return max((float("inf") if s is None else s for s in self.stages.values()), default=0.0)


class Report(msgspec.Struct, kw_only=True):
    """What FILE holds. *Units*: records, unless the name says otherwise."""

    passed: bool = False
    seed: int
    faults: dict[str, int]
    """Kind -> faults that happened with work in flight."""
    lost: int | None = None
    """None, as the two below, where nothing could be compared."""
    double_counted: int | None = None
    wrong_windows: int | None = None
    recovery_s: list[Hit]
    recovery_max_s: float | None
    """None where a stage never came back, or nothing happened."""
    problems: list[str] = []
    minutes: float
    repeat: str = ""
    """The command that does the same again."""
    events: int
    """In the raw topic."""
    by_stage: dict[str, dict[str, int]] = {}
    """Stage -> lost, doubled, wrong."""
    expected: dict[str, int] = {}
    """Outcome -> records, by the oracle."""
    windows_compared: int = 0
    first_differences: list[dict[str, Any]] = []
    ws: dict[str, Any] = {}
    verify: dict[str, Any] = {}
    """What `dataforge ledger verify` said."""
    unavailable: dict[str, str] = {}
    """Kind -> why this machine cannot do it."""
    restarts: int = 0
    """Of servers and services, by the supervisor."""
    elapsed_s: float = 0.0
    logs: str = ""


def assess(report: Report, *, wanted: int, max_recovery_s: float) -> Report:
    """With `passed` and the last problems filled in: too few faults, slow recoveries."""
    problems = [*report.problems]
    happened = sum(report.faults.values())
    if happened < wanted:
        problems.append(f"{happened} of {wanted} faults happened")
    for hit in report.recovery_s:
        slow = {stage: s for stage, s in hit.stages.items() if s is None or s > max_recovery_s}
        if slow:
            said = ", ".join(f"{stage} {'never' if s is None else f'{s} s'}" for stage, s in slow.items())
            problems.append(
                f"fault {hit.number} ({hit.kind} of {hit.victim}): back in more than {max_recovery_s} s: {said}"
            )
    slowest_s = max((hit.slowest_s for hit in report.recovery_s), default=float("inf"))
    clean = not problems and (report.lost, report.double_counted, report.wrong_windows) == (0, 0, 0)
    return msgspec.structs.replace(
        report, passed=clean, problems=problems, recovery_max_s=None if slowest_s == float("inf") else slowest_s
    )


def with_verdict(report: Report, verdict: Verdict) -> Report:
    return msgspec.structs.replace(
        report,
        lost=verdict.lost,
        double_counted=verdict.doubled,
        wrong_windows=verdict.wrong_windows,
        problems=[*report.problems, *verdict.problems],
        by_stage={s: {"lost": f.lost, "doubled": f.doubled, "wrong": f.wrong} for s, f in verdict.losses.items()},
        expected=verdict.expected,
        windows_compared=verdict.comparison.compared,
        first_differences=verdict.comparison.first,
        ws={
            **report.ws,
            "rows_compared": sum(shown.compared for shown in verdict.screens),
            "rows_wrong": sum(shown.wrong for shown in verdict.screens),
        },
    )
