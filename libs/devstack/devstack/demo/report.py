"""The report of a demo: what was counted at every stage, and whether all of it agrees. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from devstack.demo.lake import LakeReport
from devstack.oracle.compare import Comparison


class Report(msgspec.Struct, kw_only=True):
    """What FILE holds. *Units*: records, unless the name says otherwise."""

    agrees: bool = False
    problems: list[str] = []
    """What does not agree, in words; empty where all does."""
    sent: int
    """Acknowledged by Kafka: purchases, duplicates, malformed records, and those of the latency phase."""
    received: int
    """In the raw topic, by a plain consumer."""
    landed: int
    """Rows in the landing objects of the raw topic."""
    valid: int
    quarantined: dict[str, int]
    """Reason -> records."""
    undecodable: int
    undecodable_reasons: dict[str, int]
    counted: int
    duplicates: int
    late: int
    ledger: dict[str, Any]
    """The platform's own sums, by its API."""
    windows_compared: int
    windows_equal: int
    windows_different: int
    windows_missing: int
    windows_extra: int
    windows_by_metric: dict[str, int]
    first_differences: list[dict[str, Any]]
    rolling_compared_at: list[str]
    injected: dict[str, int]
    """Kind of record -> records sent."""
    latency_ms: dict[str, float]
    latency_events: int
    elapsed_s: float
    """From the first record sent until the last one was landed and in the KPIs (without the latency phase)."""
    events_per_s: float
    replayed: int
    """Records sent before the latency phase."""
    replay_events_per_s: float
    """How fast the replayer alone was."""
    lake: LakeReport | None = None
    """Where the lake ran too."""


def identities(
    received: int, landed: int, judged: Mapping[str, int], ledger: Mapping[str, int], expected: Mapping[str, int]
) -> list[str]:
    """What of DESIGN R6 does not hold, in words. Keys: valid, quarantined, undecodable, counted, duplicate, late."""
    rejected = judged["quarantined"] + judged["undecodable"]
    outcomes = sum(ledger[k] for k in ("counted", "duplicate", "late"))
    checks = {
        f"received {received} = landed {landed}": received == landed,
        f"received {received} = valid + quarantined + undecodable {judged['valid'] + rejected}": received
        == judged["valid"] + rejected,
        f"valid {judged['valid']} = counted + duplicates + late {outcomes}": judged["valid"] == outcomes,
    }
    for name, count in expected.items():
        checks[f"{name} {ledger[name]} in the ledger = {count} by the oracle"] = ledger[name] == count
    for name, count in judged.items():
        checks[f"{name} {ledger[name]} in the ledger = {count} in judged"] = ledger[name] == count
    return [f"does not hold: {text}" for text, holds in checks.items() if not holds]


def disagreements(comparison: Comparison) -> list[str]:
    if comparison.compared == 0:
        return ["no window was compared"]
    counts = {"different": comparison.different, "missing": comparison.missing, "extra": comparison.extra}
    return [f"{n} of {comparison.compared} windows are {what}" for what, n in counts.items() if n]
