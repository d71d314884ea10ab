"""The identity per minute, over generated logs: any two places of landing and counting, nothing lost, is balanced."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dataforge.ledger.balance import MINUTE_MS, Counted, Counts, Landed, Logs, balance

TTL_MS = 10 * MINUTE_MS
OUTCOMES = ("counted", "duplicate", "late", "quarantined", "undecodable")

logs = st.lists(st.tuples(st.integers(0, 90_000), st.sampled_from(OUTCOMES)), min_size=1, max_size=60)


def stamped(steps: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """(append time, outcome) of each record, in order."""
    at, found = 1_700_000_000_000, []
    for step, outcome in steps:
        at += step
        found.append((at, outcome))
    return found


def minute_of(at: int) -> int:
    return at - at % MINUTE_MS


def landed(log: list[tuple[int, str]], upto: int) -> Landed:
    done = log[:upto]
    return Landed(upto, done[-1][0] if done else 0, Counter(minute_of(at) for at, _ in done))


def counted(log: list[tuple[int, str]], upto: int) -> Counted:
    minutes: dict[int, dict[str, Any]] = {}
    for at, outcome in log[:upto]:
        entry = minutes.setdefault(minute_of(at), {"valid": 0, "quarantined": {}, "undecodable": {}})
        if outcome in ("quarantined", "undecodable"):
            entry[outcome]["r"] = entry[outcome].get("r", 0) + 1
        else:
            entry["valid"] += 1
            entry[outcome] = entry.get(outcome, 0) + 1
    clock = log[upto - 1][0] if upto else 0
    kept = {m: entry for m, entry in minutes.items() if m + MINUTE_MS + TTL_MS > clock}
    return Counted(upto, upto, kept)


@given(logs, st.data())
def test_a_log_of_which_nothing_is_lost_is_balanced_wherever_its_stages_are(
    steps: list[tuple[int, str]], data: st.DataObject
):
    log = stamped(steps)
    at_landing, at_counting = (data.draw(st.integers(0, len(log))) for _ in range(2))
    found = balance(0, counted(log, at_counting), landed(log, at_landing), Logs(len(log), len(log)), TTL_MS)
    assert found.unbalanced == ()
    assert found.in_flight == len(log) - min(at_landing, at_counting)


@given(logs, st.data())
def test_a_record_lost_by_either_stage_shows_in_its_minute(steps: list[tuple[int, str]], data: st.DataObject):
    log = stamped(steps)
    lost, by_landing = data.draw(st.integers(0, len(log) - 1)), data.draw(st.booleans())
    left = log[:lost] + log[lost + 1 :]
    landed_log, counted_log = (left, log) if by_landing else (log, left)
    landing = landed(landed_log, len(landed_log))._replace(next=len(log), newest_ms=log[-1][0])
    counting = counted(counted_log, len(counted_log))._replace(next=len(log))
    found = balance(0, counting, landing, None, TTL_MS)
    minute = minute_of(log[lost][0])
    expected = (minute,) if minute >= found.from_ms else ()
    assert tuple(m.at_ms for m in found.unbalanced) == expected


def test_of_a_minute_that_one_stage_is_still_in_nothing_is_said():
    minute = 1_700_000_040_000
    counting = Counted(5, 5, {minute: {"valid": 5, "counted": 5}})
    landing = Landed(8, minute + 30_000, {minute: 8})
    [open_minute] = balance(0, counting, landing, None, TTL_MS).minutes
    assert (open_minute.closed, open_minute.balanced, open_minute.received) == (False, True, 8)
    [closed] = balance(0, counting._replace(next=8), landing, None, TTL_MS).minutes
    assert (closed.closed, closed.balanced) == (True, False)


def test_without_the_object_store_only_the_outcomes_are_compared():
    minute = 1_700_000_040_000
    sound, lost = {"valid": 5, "counted": 5}, {"valid": 5, "counted": 4}
    found = balance(0, Counted(10, 10, {minute: sound, minute + MINUTE_MS: lost}), None, None, TTL_MS)
    assert [m.balanced for m in found.minutes] == [True, False]
    assert found.landed is None
    assert found.in_flight is None


def test_counts_of_what_an_entry_does_not_name_are_zero():
    assert Counts.of({"valid": 1, "quarantined": {"rule": 2}, "position": 7}).judged == 3
