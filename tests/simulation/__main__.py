"""`python -m simulation --minutes M --seed S --json FILE`: seeds from S on, in every core, until the time is up.

Exit code 1, and the schedule of each, where something was violated. A seed replays: `--replay SEED`.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from simulation.run import Outcome, brief, simulate

SHOWN = 5
"""Violations that are printed in full."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="write the report here")
    parser.add_argument("--replay", type=int, metavar="SEED", help="play one seed and print its trace")
    return parser.parse_args()


def outcomes(first: int, processes: int, minutes: float) -> Iterator[Outcome]:
    """Each seed's outcome, as they come, until the time is up."""
    deadline = time.monotonic() + minutes * 60
    with ProcessPoolExecutor(processes, multiprocessing.get_context("forkserver")) as pool:
        running: set[Future[Outcome]] = set()
        while time.monotonic() < deadline or running:
            while len(running) < 2 * processes and time.monotonic() < deadline:
                running.add(pool.submit(brief, first))
                first += 1
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def report(found: Iterable[Outcome], started_s: float) -> dict[str, Any]:
    """Everything added up; violations are printed as they come."""
    faults, deaths, counts = Counter[str](), Counter[str](), Counter[str]()
    violations: list[dict[str, Any]] = []
    seeds = 0
    for outcome in found:
        seeds += 1
        faults.update(outcome.faults)
        deaths.update(outcome.deaths)
        counts.update(outcome.counts)
        if outcome.violations:
            violations.append({"seed": outcome.seed, "violations": outcome.violations})
            if len(violations) <= SHOWN:
                print(outcome, file=sys.stderr)  # noqa: T201
    return {
        "seeds": seeds,
        "committed_batches": counts["commits"],
        "batches": {name: counts[name] for name in ("commits", "puts", "sends")},
        "faults": sum(faults.values()),
        "faults_by_kind": dict(faults.most_common()),
        "exits": dict(deaths),
        "records": counts["records"],
        "reads_compared": counts["reads"],
        "events": counts["events"],
        "violations": violations,
        "seconds": round(time.monotonic() - started_s, 1),
    }


def main() -> int:
    asked = arguments()
    if asked.replay is not None:
        outcome = simulate(asked.replay)
        print(outcome)  # noqa: T201
        return 1 if outcome.violations else 0
    summary = report(outcomes(asked.seed, asked.processes, asked.minutes), time.monotonic())
    text = json.dumps(summary, indent=2)
    print(text)  # noqa: T201
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(text + "\n")
    return 1 if summary["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
