"""The environment the `dataforge` command reads. No other module of devstack looks at it."""

import os
from pathlib import Path

from devstack.paths import repo_root


def cache_dir() -> Path:
    """Where fetched jars live: DATAFORGE_CACHE, else XDG_CACHE_HOME/dataforge, else ~/.cache/dataforge."""
    if chosen := os.environ.get("DATAFORGE_CACHE"):
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "dataforge"


def default_data_dir() -> Path:
    """Where a stack keeps its data: DATAFORGE_DATA, else `.dataforge/` in the repo."""
    if chosen := os.environ.get("DATAFORGE_DATA"):
        return Path(chosen).expanduser().absolute()
    return repo_root() / ".dataforge"


def inherited() -> dict[str, str]:
    """The caller's environment, for the children: what the stack does not set itself is the user's to choose."""
    return {name: value for name, value in os.environ.items() if name != "CLASSPATH"}


def otlp_endpoint() -> str | None:
    """Where the replayer's own spans go: DATAFORGE_OTLP_ENDPOINT, as for every service."""
    return os.environ.get("DATAFORGE_OTLP_ENDPOINT") or None


def pipelines_file() -> Path:
    """The pipelines of the lake: DATAFORGE_PIPELINES, else orchestration/pipelines.yaml in the repo."""
    if chosen := os.environ.get("DATAFORGE_PIPELINES"):
        return Path(chosen).expanduser().absolute()
    return repo_root() / "orchestration" / "pipelines.yaml"
