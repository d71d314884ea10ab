"""From a ledger to problems, from problems that persist to alerts: each raised once, and cleared once."""

from dataforge.alerts import Alert, current
from dataforge.ledger.balance import Counted, Landed, Logs, balance
from dataforge.ledger.problems import Persistence, Problem, Subject, alerts_due, problems_of

MINUTE = 1_700_000_040_000
TOPIC = "raw.shop.sale.v1"
SUBJECT = Subject("shop", TOPIC, 3)


def problems(counted: Counted, landed: Landed | None, logs: Logs | None) -> list[Problem]:
    return problems_of("shop", TOPIC, balance(3, counted, landed, logs, 10**9))


def kinds(found: list[Problem]) -> list[tuple[str, int]]:
    return [(p.kind, p.mark) for p in found]


def test_a_stage_behind_the_one_before_it_is_named_with_the_offset_where_it_stands():
    landed = Landed(10, MINUTE, {MINUTE: 10})
    sound = Counted(10, 10, {MINUTE: {"valid": 10, "counted": 10}})
    assert problems(sound, landed, Logs(10, 10)) == []
    assert kinds(problems(sound, landed, Logs(12, 10))) == [("landing", 10), ("judging", 10)]
    assert kinds(problems(sound, landed._replace(next=12), Logs(12, 12))) == [("counting", 10)]
    assert kinds(problems(sound, None, Logs(12, 12))) == [("counting", 10)]
    assert problems(sound, landed, None) == []


def test_a_minute_that_does_not_balance_is_named_with_its_numbers():
    landed = Landed(10, MINUTE, {MINUTE: 10})
    [problem] = problems(Counted(10, 10, {MINUTE: {"valid": 9, "counted": 9}}), landed, None)
    assert problem.text == "of 2023-11-14T22:14:00.000Z, 10 records are landed and 9 have an outcome"
    [problem] = problems(Counted(10, 10, {MINUTE: {"valid": 10, "counted": 9}}), landed, None)
    assert problem.text == "of 2023-11-14T22:14:00.000Z, valid 10 is not counted 9 + duplicate 0 + late 0"


def test_a_problem_is_as_old_as_it_has_been_seen_without_a_break():
    seen, one = Persistence(), Problem(SUBJECT, "minute", 1, "")
    assert seen.observe([one], 10.0) == [(one, 0.0)]
    assert seen.observe([one], 15.0) == [(one, 5.0)]
    assert seen.observe([], 16.0) == []
    assert seen.observe([one, one], 17.0) == [(one, 0.0)]


def test_a_stage_that_moves_on_is_a_new_problem_each_time():
    seen = Persistence()
    for now, at in enumerate([5, 6, 7]):
        [(_, age)] = seen.observe([Problem(SUBJECT, "judging", at, "")], float(now))
        assert age == 0.0


def test_an_alert_is_raised_once_and_cleared_once():
    log: list[Alert] = []
    problem = Problem(SUBJECT, "landing", 5, "landing stands")

    def observed(persisting: list[Problem], sound: list[Subject], at_ms: int) -> list[str]:
        due = alerts_due(persisting, sound, current(log), at_ms)
        log.extend(due)
        return [alert.state for alert in due]

    assert observed([problem], [], 1) == ["raised"]
    assert observed([problem], [], 2) == []
    assert observed([], [], 3) == [], "not seen, or seen with a problem not old enough: neither raised nor cleared"
    assert observed([], [SUBJECT], 4) == ["cleared"]
    assert observed([], [SUBJECT], 5) == []
    assert observed([problem], [], 4) == ["raised"], "also where the clock stands still or steps back"
    assert [alert.key for alert in log] == [f"ledger_imbalance/shop/{TOPIC}/3"] * 3
    assert current(log)[log[0].key] == log[-1]


def test_alerts_of_others_are_left_alone():
    other = Alert(kind="topic_paused", at_ms=1, message="m", what_to_do="w", domain="shop", topic=TOPIC, partition=3)
    assert alerts_due([], [SUBJECT], {other.key: other}, 2) == []
