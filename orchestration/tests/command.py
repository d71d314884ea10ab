"""`dataforge`, with one more command: `python command.py toy BEHAVIOUR …` is a step that behaves so (`a_step.py`)."""

import os
import sys
from pathlib import Path

STEP = Path(__file__).parents[2] / "libs" / "devstack" / "tests" / "a_step.py"

if __name__ == "__main__":
    arguments = sys.argv[1:]
    program = [str(STEP), *arguments[1:]] if arguments[:1] == ["toy"] else ["-m", "devstack", *arguments]
    os.execv(sys.executable, [sys.executable, *program])  # noqa: S606 - the task is this process
