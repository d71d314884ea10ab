"""`python -m lake` in its own environment, with a running stack's endpoints."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from devstack.environments import interpreter
from devstack.errors import StackError
from devstack.jars import Progress, class_path
from devstack.model import Endpoints
from devstack.paths import StackPaths, lake_catalog, repo_root
from devstack.settings import cache_dir, inherited

if TYPE_CHECKING:
    from devstack.stack import Stack  # which runs the lake as a program, by this module

SPARK = repo_root() / "spark"
LOCK = SPARK / "requirements.lock"
JARS = SPARK / "jars.lock"
NEWEST_PYTHON = (3, 12)
"""Its lock is resolved for (spark/pyproject.toml): NumPy 1, which Spark 3.5 wants, has no wheels for a later one."""

Heard = Callable[[str], None]
"""Takes a line that a job says while it works."""


def python() -> Path:
    """The lake's interpreter. Takes a minute or two the first time. *Raises* `StackError`."""
    return interpreter(LOCK, cache_dir() / "lake", NEWEST_PYTHON)


def jars(progress: Progress | None = None) -> str:
    """Class path of Iceberg and the catalog's driver. *Raises* `StackError`."""
    return class_path(JARS, cache_dir(), progress)


def environment(
    reach: Endpoints, domains: Sequence[str], paths: StackPaths, jars: str, inherited: Mapping[str, str]
) -> dict[str, str]:
    """What `python -m lake` reads. Pure."""
    env = reach.without_other_accounts(inherited)
    return env | reach.service_env(domains) | own_environment(paths, jars, env)


def own_environment(paths: StackPaths, jars: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """What it reads and no service does. Pure."""
    catalog = inherited.get("DATAFORGE_LAKE_CATALOG", str(lake_catalog(paths)))
    return {
        "PYTHONPATH": os.pathsep.join(map(str, (SPARK, repo_root() / "libs" / "common"))),
        "DATAFORGE_LAKE_CATALOG": catalog,
        "DATAFORGE_LAKE_JARS": jars,
    }


def beside(stack: "Stack") -> dict[str, str]:
    """What `python -m lake` reads beside a running stack; fetches the jars the first time. *Raises* `StackError`."""
    return environment(stack.endpoints(), stack.state().domains, stack.paths, jars(), inherited())


def lake(
    arguments: Sequence[str], env: Mapping[str, str], python: Path, heard: Heard | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end. What it says while it works goes to standard error, or line by line to `heard`; its answer is
    in the result.
    """
    command = [str(python), "-m", "lake", *arguments]
    if heard is None:
        return subprocess.run(command, env=dict(env), stdout=subprocess.PIPE, text=True, check=False)
    with TemporaryFile("w+") as answer:  # not a pipe: nobody reads its other end while we read what it says
        with subprocess.Popen(command, env=dict(env), stdout=answer, stderr=subprocess.PIPE, text=True) as running:
            for line in running.stderr or ():
                heard(line.rstrip("\n"))
        answer.seek(0)
        return subprocess.CompletedProcess(command, running.returncode, answer.read())


def asked(
    arguments: Sequence[str],
    env: Mapping[str, str],
    python: Path,
    heard: Heard | None = None,
    *,
    fails_by_answering: bool = False,
) -> str:
    """What the lake answers. *Raises* `StackError` where it does not."""
    ended = lake(arguments, env, python, heard)
    if ended.returncode and not (fails_by_answering and ended.stdout):
        raise StackError(f"lake {' '.join(arguments)} failed: its last words are above")
    return ended.stdout
