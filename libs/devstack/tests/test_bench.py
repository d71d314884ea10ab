"""What rounds come to, and that everybody is asked the same."""

import random
import sys
from collections import defaultdict
from xml.etree import ElementTree

import pytest

from devstack.bench.answers import digest
from devstack.bench.contest import OURS, Measured, report
from devstack.bench.plot import svg
from devstack.bench.process import Cost, cost_of
from devstack.bench.sales import PARTITIONS, WINDOW_MS, drawn
from devstack.errors import StackError


def rounds_of(*cpu_s: float, events: int = 100, answer: str = "right") -> list[Measured]:
    return [Measured(events, seconds, 1, 1, answer, "right") for seconds in cpu_s]


def test_a_ratio_is_paired_within_rounds_and_of_one_event() -> None:
    found = report("stream", {OURS: rounds_of(2.0, 4.0, 3.0, events=200), "other": rounds_of(0.5, 2.0, 4.5)})
    assert (found.ratios, found.spread) == ({"other": 1.0}, {"other": (0.5, 3.0)})


def test_a_contestant_with_another_answer_is_a_problem() -> None:
    found = report("stream", {OURS: rounds_of(2.0), "other": rounds_of(1.0, answer="wrong")})
    assert found.problems == ["other answers 'wrong' in round 1, not 'right'"]
    assert found.ratios["other"] == 0.5
    assert (found.standings[OURS].events_per_cpu_s, found.standings[OURS].events_per_s) == (50, 100)


def test_a_picture_has_a_bar_for_each_and_is_xml() -> None:
    rounds = {OURS: rounds_of(0.001), "fast & furious": rounds_of(0.0005), "slow": rounds_of(0.1)}
    drawing = ElementTree.fromstring(svg(report("stream", rounds)))  # noqa: S314 - it is our own
    bars = drawing.findall("{http://www.w3.org/2000/svg}rect")
    assert [round(float(bar.get("width", 0))) for bar in bars] == sorted(
        (round(float(bar.get("width", 0))) for bar in bars), reverse=True
    )
    assert len(bars) == 3


def test_the_expected_rows_are_those_of_a_plain_loop_and_have_one_digest() -> None:
    sales = drawn(5_000, seed=random.randrange(10**6))
    counted: defaultdict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    columns = (sales.at, sales.store, sales.category, sales.amount, sales.quantity)
    for at, store, category, amount, quantity in zip(*(column.tolist() for column in columns), strict=True):
        for key in (("store", str(store)), ("category", f"category {category:02d}")):
            row = counted[*key, at - at % WINDOW_MS]
            row[:] = [row[0] + amount, row[1] + quantity, row[2] + 1, max(row[3], amount)]
    rows = [(*key, values) for key, values in counted.items()]
    assert sorted(sales.rows()) == sorted(rows)
    assert digest(sales.rows()) == digest(rows) == digest(reversed(rows))
    assert sum(len(sales.in_partition(p)) for p in range(PARTITIONS)) == len(sales)


async def test_the_cost_of_a_process_is_that_of_its_children_too() -> None:
    burn = "import time; began = time.process_time()\nwhile time.process_time() < began + 0.3: pass\n"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], check=True); print('{{}}')"
    cost = await cost_of([sys.executable, "-c", parent], {})
    assert isinstance(cost, Cost)
    assert cost.cpu_s >= 0.3
    assert cost.peak_mib > 1
    assert cost.said == "{}\n"


async def test_a_contestant_that_fails_says_why() -> None:
    with pytest.raises(StackError, match="no such thing"):
        await cost_of([sys.executable, "-c", "raise SystemExit('no such thing')"], {})
