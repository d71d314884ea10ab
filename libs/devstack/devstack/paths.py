"""Where a stack keeps things on disk."""

from dataclasses import dataclass
from pathlib import Path


def repo_root() -> Path:
    """The work tree this command is installed from (editable), else the current folder."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "requirements.lock").is_file() and (folder / "libs" / "devstack").is_dir():
            return folder
    return Path.cwd()


@dataclass(frozen=True, slots=True)
class StackPaths:
    """The files of one stack. One supervisor at a time works on a data folder (it holds `lock`)."""

    data: Path

    @property
    def lock(self) -> Path:
        return self.data / "supervisor.lock"

    @property
    def wanted(self) -> Path:
        """What should run; written by `up`, read by the supervisor."""
        return self.data / "wanted.json"

    @property
    def state(self) -> Path:
        """What runs; written by the supervisor, read by everybody."""
        return self.data / "state.json"

    @property
    def secrets(self) -> Path:
        return self.data / "secrets.json"

    def hold(self, name: str) -> Path:
        """While this file is there, the supervisor does not start the program, once it has ended."""
        return self.data / "hold" / name

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    def of(self, name: str) -> Path:
        """The private folder of a server or service."""
        return self.data / name

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


def lake_catalog(paths: StackPaths) -> Path:
    """The file of the lake's catalog: its jobs write it, query-api reads it."""
    return paths.of("lake") / "catalog.db"
