"""When a frame covers a record, and percentiles that cannot flatter."""

from devstack.latency import Coverage, Sent, percentile


def test_a_record_is_covered_by_the_first_frame_whose_next_lies_beyond_it() -> None:
    coverage = Coverage()
    coverage.frame({"0": 5, "1": 2}, 1.0)
    coverage.frame({"0": 5, "1": 3}, 2.0)
    coverage.frame({"0": 9, "1": 3}, 3.0)
    assert coverage.latencies_ms([Sent(0, 4, 2, 0.5)]) == [500.0, 500.0]
    assert coverage.latencies_ms([Sent(0, 5, 1, 0.5)]) == [2500.0]
    assert coverage.latencies_ms([Sent(1, 2, 1, 0.5)]) == [1500.0]


def test_a_record_no_frame_covers_has_no_end() -> None:
    coverage = Coverage()
    coverage.frame({"0": 5}, 1.0)
    assert coverage.latencies_ms([Sent(0, 5, 1, 0.5), Sent(7, 0, 1, 0.5)]) == [float("inf")] * 2
    assert not coverage.covers({0: 6})
    assert not coverage.covers({0: 5, 7: 1})
    assert coverage.covers({0: 5})


def test_a_frame_that_goes_back_covers_nothing_new() -> None:
    coverage = Coverage()
    coverage.frame({"0": 5}, 1.0)
    coverage.frame({"0": 3}, 2.0)
    coverage.frame({"0": 6}, 3.0)
    assert coverage.latencies_ms([Sent(0, 5, 1, 0.0)]) == [3000.0]


def test_percentiles() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile(values, 1.0) == 100
    assert percentile([7.0], 0.01) == 7
