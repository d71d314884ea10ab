"""What rounds come to, and that everybody is asked the same."""

import asyncio
import random
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

from devstack.bench.answers import digest
from devstack.bench.contest import OURS, Measured, report
from devstack.bench.crowd import Crowd, Heard
from devstack.bench.deployed import CONTESTANTS
from devstack.bench.plot import svg
from devstack.bench.process import Cost, cost_of
from devstack.bench.sales import PARTITIONS, WINDOW_MS, drawn
from devstack.bench.suites import SUITES
from devstack.bench.ws import Commits
from devstack.errors import StackError
from devstack.ports import PortClaims


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


async def test_a_crowd_hears_all_frames_in_their_order(tmp_path: Path) -> None:
    claims, text = PortClaims(), tmp_path / "frame"
    text.write_text("what is said")
    port = claims.claim({"ws": 0})["ws"]
    script, clients, frames, stalled = CONTESTANTS / "broadcasting_picows.py", 20, 5, 4
    command = [sys.executable, str(script), *map(str, (port, clients, frames, 1, text))]
    server = await asyncio.create_subprocess_exec(*command)
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    async with Crowd(clients, stalled).at(port, f"#{frames:06d} ") as listening:
                        heard = await listening.heard()
                    break
                except ConnectionError:
                    await asyncio.sleep(0.05)
    finally:
        server.terminate()
        await server.wait()
        claims.release()
    assert [frame for frame, _ in heard.frames] == [f"#{number:06d} what is said" for number in range(1, frames + 1)]
    assert {len(times) for _, times in heard.frames} == {clients - stalled}
    assert (heard.tales, heard.delivered) == (1, frames * (clients - stalled))


def test_a_frame_is_as_old_as_the_newest_commit_it_covers() -> None:
    commits = Commits(3, 0, seed=1, rows=2, at_s={2: 1.0, 4: 2.0, 6: 3.0})
    heard = Heard("", 1, [('{"next":{"0":4}}', [2.5, 2.75]), ('{"next":{"0":6}}', [3.125])])
    assert commits.latencies_ms(heard) == [500, 750, 125]


def test_a_figure_has_a_goal_as_a_ratio_has() -> None:
    suite = SUITES["ws_10k"]
    assert suite.met("picows", 0.9)
    assert not suite.met("picows", 0.7)
    assert suite.met("KiB of an idle connection", 24)
    assert not suite.met("KiB of an idle connection", 26)
    assert (suite.goal("idle connections"), suite.goal("uvicorn")) == ("≥ 15000", "")
