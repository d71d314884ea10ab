import hashlib
import os
from pathlib import Path

import pytest

from devstack import jars
from devstack.errors import StackError

CONTENT = b"class files"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A program of two jars, pinned to CONTENT."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    (tmp_path / "toy.lock").write_text(f"# toy\norg.a:a:1::{digest}\norg.b:b:2:linux:{digest}\n")
    return tmp_path / "toy.lock"


def fetch(jar: jars.Jar, folder: Path, content: bytes = CONTENT) -> Path:
    path = folder / f"{jar.artifact}.download"
    path.write_bytes(content)
    return path


def test_what_is_missing_is_fetched_once(lock: Path, tmp_path: Path):
    progress: list[tuple[int, int]] = []
    path = jars.class_path(lock, tmp_path / "cache", lambda *step: progress.append(step), fetch)
    assert [Path(p).name for p in path.split(os.pathsep)] == ["org.a.a-1.jar", "org.b.b-2-linux.jar"]
    assert all(Path(p).read_bytes() == CONTENT for p in path.split(os.pathsep))
    assert progress == [(1, 2), (2, 2)]

    def unexpected(jar: jars.Jar, folder: Path) -> Path:
        raise AssertionError(f"{jar} is in the cache")

    assert jars.class_path(lock, tmp_path / "cache", download=unexpected) == path


def test_a_jar_that_is_not_the_pinned_one_never_gets_into_the_cache(lock: Path, tmp_path: Path):
    def forged(jar: jars.Jar, folder: Path) -> Path:
        return fetch(jar, folder, b"something else" if jar.artifact == "b" else CONTENT)

    with pytest.raises(StackError, match="the lock says"):
        jars.class_path(lock, tmp_path / "cache", download=forged)
    assert not (tmp_path / "cache" / "jars" / "org.b.b-2-linux.jar").exists()


def test_a_download_cut_short_leaves_nothing_and_is_done_again(lock: Path, tmp_path: Path):
    def cut_short(jar: jars.Jar, folder: Path) -> Path:
        fetch(jar, folder, b"clas")
        raise StackError("the network is gone")

    with pytest.raises(StackError, match="network"):
        jars.class_path(lock, tmp_path / "cache", download=cut_short)
    assert list((tmp_path / "cache" / "jars").iterdir()) == []
    jars.class_path(lock, tmp_path / "cache", download=fetch)


@pytest.mark.parametrize("server", ["kafka", "s3proxy"])
def test_the_locks_pin_every_jar_by_content(server: str):
    found = jars.locked(jars.lock_of(server))
    assert len(found) > 40
    assert all(len(jar.sha256) == 64 and jar.version for jar in found)
    assert len({jar.file_name for jar in found}) == len(found)
