"""`python -m lake` in its own environment, with a running stack's endpoints."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from devstack.environments import interpreter
from devstack.jars import Progress, class_path
from devstack.model import Endpoints
from devstack.paths import StackPaths, repo_root
from devstack.settings import cache_dir, inherited
from devstack.stack import Stack

SPARK = repo_root() / "spark"
LOCK = SPARK / "requirements.lock"
JARS = SPARK / "jars.lock"


def python() -> Path:
    """The lake's interpreter. Takes a minute or two the first time. *Raises* `StackError`."""
    return interpreter(LOCK, cache_dir() / "lake")


def jars(progress: Progress | None = None) -> str:
    """Class path of Iceberg and the catalog's driver. *Raises* `StackError`."""
    return class_path(JARS, cache_dir(), progress)


def environment(
    reach: Endpoints, domains: Sequence[str], paths: StackPaths, jars: str, inherited: Mapping[str, str]
) -> dict[str, str]:
    """What `python -m lake` reads. Pure.

    Where the stack has an object store of its own, nothing of the user's cloud account is handed on: a profile or a
    session token would go before that store's keys.
    """
    env = dict(inherited)
    if reach.s3_endpoint:
        env = {name: value for name, value in env.items() if not name.startswith("AWS_")}
        env["AWS_EC2_METADATA_DISABLED"] = "true"
    packages = (SPARK, repo_root() / "libs" / "common")
    return env | reach.service_env(domains) | {
        "PYTHONPATH": os.pathsep.join(map(str, packages)),
        "DATAFORGE_LAKE_CATALOG": env.get("DATAFORGE_LAKE_CATALOG", str(paths.of("lake") / "catalog.db")),
        "DATAFORGE_LAKE_JARS": jars,
    }  # fmt: skip


def beside(stack: Stack) -> dict[str, str]:
    """What `python -m lake` reads beside a running stack; fetches the jars the first time. *Raises* `StackError`."""
    return environment(stack.endpoints(), stack.state().domains, stack.paths, jars(), inherited())


def lake(arguments: Sequence[str], env: Mapping[str, str], python: Path) -> subprocess.CompletedProcess[str]:
    """Run it to its end. What it says while it works goes to standard error; its answer is in the result."""
    command = [str(python), "-m", "lake", *arguments]
    return subprocess.run(command, env=dict(env), stdout=subprocess.PIPE, text=True, check=False)
