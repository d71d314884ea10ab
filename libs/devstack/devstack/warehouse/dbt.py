"""dbt in its own environment, with a running stack's endpoints."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from devstack.environments import interpreter
from devstack.errors import UsageError
from devstack.lake import jobs
from devstack.model import Endpoints
from devstack.paths import StackPaths, repo_root
from devstack.settings import cache_dir

WAREHOUSE = repo_root() / "warehouse"
LOCK = WAREHOUSE / "requirements.lock"
DOMAIN = "retail"
"""What the star is of."""
TARGETS = ("duckdb", "postgres", "athena")
VERBS: Mapping[str, tuple[str, ...]] = {
    "build": ("build",),
    "test": ("test",),
    "compile": ("compile",),
    "docs": ("docs", "generate"),
    "freshness": ("source", "freshness"),
}
"""Our word -> dbt's."""
_DBT = "from dbt.cli.main import cli; cli()"  # its script names an interpreter that has moved
POSTGRES_URL = "DATAFORGE_LAKE_POSTGRES_URL"


def python() -> Path:
    """The interpreter that has dbt. Takes a minute the first time. *Raises* `StackError`."""
    return interpreter(LOCK, cache_dir() / "warehouse")


def has_star(folders: Sequence[str]) -> bool:
    """Whether one of these is the star's domain. *Raises* `DomainError`."""
    from dataforge.contracts.load import load_domains  # imported late, as for every command

    return any(domain.name == DOMAIN for domain in load_domains([Path(folder) for folder in folders]))


def environment(reach: Endpoints, paths: StackPaths, inherited: Mapping[str, str]) -> dict[str, str]:
    """What dbt and the project's profile read. Pure."""
    folder = paths.of("warehouse")
    env = jobs.environment(reach, [], paths, "", inherited)
    env.pop("PYTHONPATH")  # the lake's packages are none of dbt's
    return env | _libpq(env.get(POSTGRES_URL)) | {
        "DATAFORGE_WAREHOUSE_DUCKDB": str(folder / "warehouse.duckdb"),
        "DBT_PROJECT_DIR": str(WAREHOUSE),
        "DBT_PROFILES_DIR": str(WAREHOUSE),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }  # fmt: skip


def _libpq(url: str | None) -> dict[str, str]:
    """The address that `lake run export` takes, as dbt's profile takes it."""
    if not url:
        return {}
    said = urlsplit(url)
    named = {
        "PGHOST": said.hostname,
        "PGPORT": said.port and str(said.port),
        "PGUSER": said.username and unquote(said.username),
        "PGPASSWORD": said.password and unquote(said.password),
        "PGDATABASE": unquote(said.path.lstrip("/")),
    }
    return {name: value for name, value in named.items() if value}


def command(python: Path, verb: str, target: str, arguments: Sequence[str] = ()) -> list[str]:
    """*Raises* `UsageError` where there is no such verb or target."""
    for kind, word, known in (("word", verb, VERBS), ("target", target, TARGETS)):
        if word not in known:
            raise UsageError(f"there is no {kind} {word!r}; there are: {', '.join(known)}")
    return [str(python), "-c", _DBT, *VERBS[verb], "--target", target, *arguments]


def dbt(command: Sequence[str], env: Mapping[str, str]) -> int:
    """Run it to its end, in sight. Returns its exit code: 0 done, 1 something failed, 2 it could not be tried."""
    Path(env["DATAFORGE_WAREHOUSE_DUCKDB"]).parent.mkdir(parents=True, exist_ok=True)
    return subprocess.run(command, env=dict(env), cwd=WAREHOUSE, check=False).returncode
