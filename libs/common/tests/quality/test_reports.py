"""Reports keep what they say, and the newest is found first."""

from dataforge.quality.report import Finding, Report, decode, encode, prefix, status_of
from dataforge.quality.stored import newest_reports, store_report
from dataforge.storage.memory import MemoryStore

FINDING = Finding(
    name="priced", kind="range", severity="fail", status="failed", observed=0.5, least=0.9, rows=10, failed=5, why="…"
)


def report(at_ms: int, snapshot: int = 7, event: str = "shop.sale.v1") -> Report:
    return Report(event=event, source="suite", at_ms=at_ms, snapshot=snapshot, rows=10, findings=[FINDING])


def test_a_report_says_what_it_said() -> None:
    assert decode(encode(report(1))) == report(1)
    assert decode(encode(report(1)).replace(b'"rows"', b'"later":1,"rows"')) == report(1)


def test_what_is_told_is_what_failed_and_may_not() -> None:
    warned = Finding(name="b", kind="rule", severity="warn", status="failed")
    unknown = Finding(name="c", kind="drift", severity="fail", status="unknown")
    whole = Report(event="e", source="gate", at_ms=1, snapshot=1, rows=0, findings=[warned, FINDING, unknown])
    assert whole.broken == [FINDING]


def test_a_number_is_held_against_both_limits() -> None:
    cases = {(None, 0, 1): "unknown", (0.0, 0, 1): "passed", (1.0, 0, 1): "passed", (-0.1, 0, None): "failed"}
    cases |= {(1.1, None, 1): "failed", (5.0, None, None): "passed"}
    assert {case: status_of(*case) for case in cases} == cases


async def test_the_newest_is_first_whatever_was_stored_when() -> None:
    store = MemoryStore()
    times = [1_700_000_000_000, 9, 1_800_000_000_000, 0, 1_700_000_000_001]
    for at_ms in times:
        await store_report(store, report(at_ms))
        await store_report(store, report(at_ms))
    await store_report(store, report(10**14, event="shop.sale.v10"))
    await store.put_if_absent(f"{prefix('shop.sale.v1', 'suite')}{0:015d}-7-3f2a", b"torn")
    found = await newest_reports(store, "shop.sale.v1", "suite", 10)
    assert [one.at_ms for one in found] == sorted(times, reverse=True)
    assert await newest_reports(store, "shop.sale.v1", "suite") == [report(1_800_000_000_000)]
    assert await newest_reports(store, "shop.sale.v1", "gate") == []
