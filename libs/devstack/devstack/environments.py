"""Python environments beside the product's: made from a lock, once for each, in the cache."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from devstack.errors import StackError


class NoPython(StackError):
    """None of this machine's Pythons is one that the packages have wheels for."""


def interpreter(lock: Path, folder: Path, newest: tuple[int, int] | None = None) -> Path:
    """The Python that has what `lock` names, and nothing else. Makes it where it is missing: from this very Python, or
    from an older one of the machine where this is beyond `newest`. *Raises* `StackError`.
    """
    base = sys.executable if newest is None else _not_beyond(newest)

    def make(staged: Path) -> None:
        uv = _uv()
        run([uv, "venv", "--quiet", "--python", base, str(staged)])
        python = str(staged / "bin" / "python")
        options = ("--quiet", "--require-hashes", "--compile-bytecode")
        run([uv, "pip", "sync", *options, "--python", python, str(lock)])

    by = lock.read_bytes() + (sys.version if base == sys.executable else base).encode()
    return made(folder, "python", by, make) / "bin" / "python"


def _not_beyond(newest: tuple[int, int]) -> str:
    """*Raises* `NoPython`."""
    if sys.version_info[:2] <= newest:
        return sys.executable
    for minor in range(newest[1], 10, -1):
        if found := shutil.which(f"python3.{minor}"):
            return found
    raise NoPython(
        f"this needs Python 3.11 to 3.{newest[1]}, and there is none beside {sys.version.split()[0]}: install one"
    )


def made(folder: Path, kind: str, by: bytes, make: Callable[[Path], None]) -> Path:
    """A folder that `make` has filled: whole, or not there at all. Another `by` is another folder."""
    found = folder / f"{kind}-{sha256(by).hexdigest()[:16]}"
    if not found.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as staging:
            staged = Path(staging) / kind
            make(staged)
            _appear(staged, found)
    return found


def _appear(staged: Path, found: Path) -> None:
    try:
        staged.rename(found)
    except OSError:
        if not found.exists():  # another process may have been first, with the same content
            raise


def run(command: Sequence[str]) -> None:
    """*Raises* `StackError` with the command's last words."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip()[-2000:]
        raise StackError(f"{Path(command[0]).name} could not make an environment: {said}")


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise StackError("environments are made by uv, which is not here: run `make setup`, or `pip install uv`")
    return found
