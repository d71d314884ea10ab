"""A run of a pipeline in a process of its own, to be ended: `python a_run.py FOLDER DEFINITION NAME`."""

import os
import sys
from pathlib import Path

import msgspec

from devstack.errors import StackError
from devstack.paths import StackPaths
from devstack.pipelines.run import Run, chosen, planned

STEP = (sys.executable, str(Path(__file__).with_name("a_step.py")))


def main(folder: str, definition: str, name: str) -> int:
    pipeline = chosen(name, Path(definition))
    report = planned(pipeline)
    try:
        Run(pipeline, StackPaths(Path(folder)), os.environ, command=STEP).happen(report)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(msgspec.json.encode(report).decode())
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
