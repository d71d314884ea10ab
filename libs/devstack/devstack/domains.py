"""Which domain folders a stack serves."""

from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

from dataforge.contracts.load import is_domain

from devstack.errors import UsageError
from devstack.paths import repo_root


def default_folders() -> list[str]:
    """Every domain in the repo's `domains/`."""
    parent = repo_root() / "domains"
    return _inside(parent) if parent.is_dir() else []


def _inside(parent: Path) -> list[str]:
    return sorted(str(f.resolve()) for f in parent.iterdir() if f.is_dir() and is_domain(f))


def checked(folders: Iterable[Path]) -> list[str]:
    """Absolute paths; a folder of domains stands for all of them. *Raises* `UsageError` for one that is none."""
    found: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}")
        if is_domain(folder):
            found.append(str(folder.resolve()))
        elif inside := _inside(folder):
            found.extend(inside)
        else:
            raise UsageError(
                f"{folder} is no domain: it holds no contract (<event>.v1.json); `dataforge domain check {folder}`"
            )
    return found


def joined(remembered: Iterable[str], asked: Iterable[str]) -> tuple[str, ...]:
    """What a stack served before and still exists, then what is asked for, each once."""
    kept = [f for f in remembered if Path(f).is_dir() and is_domain(Path(f))]
    return tuple(dict.fromkeys([*kept, *asked]))


def content(folders: Iterable[str]) -> int:
    """Changes when any file of these domains does: services are then started again with what it says now."""
    total = 0
    for folder in folders:
        for file in sorted(f for f in Path(folder).rglob("*") if f.is_file()):
            total = crc32(file.read_bytes(), crc32(str(file).encode(), total))
    return total
