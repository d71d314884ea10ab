"""Which domain folders a stack serves."""

from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

from devstack.errors import UsageError
from devstack.paths import repo_root


def default_folders() -> list[str]:
    """Every domain in the repo's `domains/`."""
    parent = repo_root() / "domains"
    return sorted(str(f) for f in parent.iterdir() if is_domain(f)) if parent.is_dir() else []


def is_domain(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.v*.json"))


def checked(folders: Iterable[Path]) -> list[str]:
    """Absolute paths; a folder of domains stands for all of them. *Raises* `UsageError` for one that is none."""
    found: list[str] = []
    for folder in folders:
        if is_domain(folder):
            found.append(str(folder.resolve()))
        elif inside := sorted(f for f in folder.glob("*/") if is_domain(f)):
            found.extend(str(f.resolve()) for f in inside)
        else:
            raise UsageError(
                f"{folder} is no domain: it holds no contract (<event>.v1.json); `dataforge domain check {folder}`"
            )
    return found


def joined(remembered: Iterable[str], asked: Iterable[str]) -> tuple[str, ...]:
    """What a stack served before and still exists, then what is asked for, each once."""
    kept = [f for f in remembered if is_domain(Path(f))]
    return tuple(dict.fromkeys([*kept, *asked]))


def content(folders: Iterable[str]) -> int:
    """Changes when any file of these domains does: services are then started again with what it says now."""
    total = 0
    for folder in folders:
        for file in sorted(f for f in Path(folder).rglob("*") if f.is_file()):
            total = crc32(file.read_bytes(), crc32(str(file).encode(), total))
    return total
