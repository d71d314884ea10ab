"""`python -m devstack.orchestration`: where the interpreter is that has Airflow; made where it is missing."""

import sys
from pathlib import Path

from devstack.environments import interpreter
from devstack.paths import repo_root
from devstack.settings import cache_dir

ORCHESTRATION = repo_root() / "orchestration"


def python() -> Path:
    """*Raises* `StackError`."""
    return interpreter(ORCHESTRATION / "requirements.lock", cache_dir() / "airflow")


if __name__ == "__main__":
    sys.stdout.write(f"{python()}\n")
