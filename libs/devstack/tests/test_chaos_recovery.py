"""From what was seen outside to seconds of recovery."""

from devstack.chaos.recovery import Seen, Struck, back_at, behind, recoveries, recovery_s

END = {0: 100, 1: 50}


def seen(*points: tuple[float, int, int]) -> list[Seen]:
    return [Seen(at_s, {0: zero, 1: one}) for at_s, zero, one in points]


def test_a_stage_is_back_when_every_partition_has_passed_the_end_of_the_heal() -> None:
    history = seen((1, 90, 40), (2, 101, 49), (3, 99, 51), (4, 101, 51), (5, 120, 60))
    assert back_at(history, 0, END) == 4
    assert recovery_s(Struck(1, 0.5, 1.5, END), [], history) == 2.5


def test_a_stage_that_has_everything_of_a_log_that_stands_still_has_not_come_back() -> None:
    """A broker that is away: there is nothing to be behind of."""
    history = seen((1, 100, 50), (2, 100, 50), (8, 130, 50), (9, 130, 51))
    assert recovery_s(Struck(1, 0.5, 0.5, END), [], history) == 8.5


def test_what_was_seen_before_the_heal_does_not_count() -> None:
    """A store that is rolled back had been past the end once."""
    history = seen((1, 200, 200), (2, 10, 10), (3, 200, 200))
    assert recovery_s(Struck(1, 0.5, 1.5, END), [], history) == 1.5


def test_a_stage_that_never_comes_back_has_no_seconds() -> None:
    assert recovery_s(Struck(1, 0.5, 1.5, END), [], seen((2, 99, 50), (3, 99, 50))) is None
    assert recovery_s(Struck(1, 0.5, 1.5, END), [], []) is None


def test_a_partition_that_was_never_heard_of_is_not_back() -> None:
    assert back_at([Seen(1, {0: 101})], 0, END) is None
    assert behind({0: 90}, END) == 60


def test_overlapping_faults_are_measured_from_the_last_heal() -> None:
    first, second = Struck(1, 1, 2, {0: 10}), Struck(2, 3, 6, {0: 30})
    history = [Seen(4, {0: 10}), Seen(7, {0: 30}), Seen(8, {0: 31})]
    found = recoveries([first, second], {"judge": history})
    assert found == {1: {"judge": 2.0}, 2: {"judge": 2.0}}


def test_a_fault_after_the_recovery_does_not_overlap() -> None:
    first, second = Struck(1, 1, 2, {0: 10}), Struck(2, 5, 6, {0: 30})
    history = [Seen(4, {0: 11}), Seen(9, {0: 31})]
    assert recoveries([first, second], {"judge": history}) == {1: {"judge": 2.0}, 2: {"judge": 3.0}}


def test_a_fault_that_was_healed_before_this_one_does_not_matter() -> None:
    first, second = Struck(1, 1, 9, {0: 30}), Struck(2, 2, 3, {0: 10})
    history = [Seen(4, {0: 11}), Seen(11, {0: 31})]
    assert recoveries([first, second], {"judge": history}) == {1: {"judge": 2.0}, 2: {"judge": 1.0}}


def test_two_faults_at_once_are_measured_from_the_same_heal() -> None:
    """A gateway is killed while nobody reaches Kafka: no stage can be back before that is over."""
    black_hole, kill = Struck(1, 1, 9, {0: 30}), Struck(2, 2, 2, {0: 10})
    history = [Seen(8, {0: 10}), Seen(11, {0: 31})]
    assert recoveries([black_hole, kill], {"judge": history}) == {1: {"judge": 2.0}, 2: {"judge": 2.0}}


def test_a_fault_that_was_over_before_this_one_does_not_overlap() -> None:
    first, second = Struck(1, 1, 2, {0: 10}), Struck(2, 3, 4, {0: 20})
    history = [Seen(8, {0: 21})]
    assert recoveries([first, second], {"judge": history})[2] == {"judge": 4.0}
