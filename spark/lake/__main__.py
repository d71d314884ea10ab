"""`python -m lake`: one entry for every job, on this machine and by spark-submit alike.

Exit codes: 0 done; 1 it failed, or the lake does not agree; 2 wrong usage or settings.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec

from dataforge.errors import DataForgeError
from dataforge.runtime.settings import load_settings

from lake.app import ALL, JOBS, build, write_quality_docs
from lake.program import stream
from lake.settings import LakeSettings
from lake.when import first_day


def main(arguments: Sequence[str]) -> int:
    asked = _parser().parse_args(arguments)
    settings = load_settings(LakeSettings)
    try:
        if asked.command == "stream":
            stream(settings, asked.domain, asked.gold_every)
        if asked.command == "quality-docs":
            _write({"page": str(write_quality_docs(settings, asked.folder, asked.most, asked.domain))})
            return 0
        lake = build(settings, asked.domain, asked.since, asked.progress)
        match asked.command:
            case "run":
                _write(lake.run(asked.job))
            case "status":
                _write(lake.status())
            case _:
                found = lake.agreed()
                _write(found, asked.json)
                return 1 if found.unexplained else 0
    except DataForgeError as error:
        sys.stderr.write(f"lake: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lake", description="The lakehouse's jobs.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="Run a job for every event, up to what is there now.")
    run.add_argument("job", choices=(*JOBS, ALL))
    follow = commands.add_parser("stream", help="Follow the judged logs until told to stop.")
    follow.add_argument("--gold-every", type=float, metavar="SECONDS", help="Bring gold along; left out: not at all.")
    run.add_argument("--since", type=_since, help="Backfill looks no further back: a day, or 3d.")
    run.add_argument("--progress", action="store_true", help="Say how far it is, in JSON, on standard error.")
    commands.add_parser("status", help="What is in the tables, and how much of the log.")
    agree = commands.add_parser("agree", help="Hold gold against the live numbers.")
    agree.add_argument("--json", type=Path, help="Write the report here instead of to standard output.")
    docs = commands.add_parser("quality-docs", help="Pages about what was expected and what was found.")
    docs.add_argument("folder", type=Path)
    docs.add_argument("--most", type=int, default=10, help="Reports of each event and kind, the newest.")
    for command in commands.choices.values():
        command.add_argument("--domain", help="One domain; all of the settings' by default.")
        command.set_defaults(since=None, progress=False)
    return parser


def _since(text: str) -> date:
    return first_day(text, datetime.now(UTC).date())


def _write(said: Any, file: Path | None = None) -> None:
    text = msgspec.json.format(msgspec.json.encode(said)).decode() + "\n"
    if file is None:
        sys.stdout.write(text)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
