"""`python tests/fuzz --records 1000000 --seed 7 --json FILE`: the long run, with its figures."""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

import msgspec
from rich.progress import Progress

from fuzzing import REASONS, fuzz

LONG, HITS = 1_000_000, 1_000
"""In so many records every reason must be hit so often."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzz", description="Judge and fold fuzzed records.")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--json", type=Path, help="write the figures there")
    asked = parser.parse_args()
    sys.stderr.write(f"seed {asked.seed}\n")
    with tempfile.TemporaryDirectory() as folder, Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("fuzzing", total=asked.records)
        done = fuzz(asked.records, asked.seed, Path(folder), lambda n: progress.update(task, completed=n))
        found = asyncio.run(done)
    report = msgspec.json.format(msgspec.json.encode(found))
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_bytes(report)
    sys.stdout.write(report.decode() + "\n")
    seldom = {reason: found.reasons.get(reason, 0) for reason in REASONS} if asked.records >= LONG else {}
    if rare := {reason: hits for reason, hits in seldom.items() if hits < HITS}:
        sys.exit(f"hit less than {HITS} times, so little is proven of them: {rare}")


if __name__ == "__main__":
    main()
