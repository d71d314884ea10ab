"""Jars from Maven Central, pinned by content: a lock file names each jar of a program and its SHA-256.

Nothing is resolved when a user starts a stack: the lock is the whole class path. Its first line says what it was
resolved from; raise a version there, and `python -m devstack.jars LOCK` writes the rest anew.
"""

import fcntl
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import StackError

# s3proxy can stand before other clouds, SFTP and collectors, and carries Jetty shaded: none of that is loaded
# by the file system store, and it is two thirds of the download. What the lake leaves out comes with Spark.
# fmt: off
LEFT_OUT = {
    "jars": [
        "com.google.code.findbugs", "commons-logging", "org.apache.hadoop", "org.lz4", "org.scala-lang", "org.slf4j",
        "org.xerial.snappy",
    ],
    "s3proxy": [
        "com.azure", "com.fasterxml.jackson.dataformat", "com.fasterxml.jackson.datatype", "com.github.fge",
        "com.github.openstack4j", "com.google.android", "com.google.api", "com.google.apis",
        "com.google.auth", "com.google.cloud", "com.google.code.gson", "com.google.http", "com.google.jimfs",
        "com.google.oauth", "com.google.protobuf", "com.google.re2j", "com.microsoft", "com.squareup",
        "io.grpc", "io.opencensus", "io.opentelemetry", "io.perfmark", "io.projectreactor", "io.prometheus",
        "net.java.dev.jna", "org.apache.httpcomponents", "org.apache.sshd", "org.eclipse.jetty",
        "org.threeten", "org.yaml",
    ],
}
# fmt: on
_DOWNLOADS_AT_ONCE = 8

Progress = Callable[[int, int], None]
"""Called with (jars fetched, jars to fetch)."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of a lock file."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str

    @property
    def file_name(self) -> str:
        tail = f"-{self.classifier}" if self.classifier else ""
        return f"{self.group}.{self.artifact}-{self.version}{tail}.jar"


Download = Callable[[Jar, Path], Path]
"""Fetches a jar to somewhere inside a folder and says where; whether it is the right one is checked later."""


def lock_of(server: str) -> Path:
    return Path(__file__).parent / "servers" / f"{server}.lock"


def locked(lock: Path) -> list[Jar]:
    lines = lock.read_text().splitlines()
    return [Jar(*line.split(":")) for line in lines if line and not line.startswith("#")]


def class_path(lock: Path, cache: Path, progress: Progress | None = None, download: Download | None = None) -> str:
    """The locked class path, fetching what the cache does not hold.

    *Guarantees*: a jar appears in the cache complete and verified, or not at all; processes may race.
    *Raises* `StackError` when a jar cannot be had or is not what the lock names.
    """
    folder = cache / "jars"
    jars = locked(lock)
    missing = [jar for jar in jars if not (folder / jar.file_name).exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(cache / "jars.lock"):
            missing = [jar for jar in missing if not (folder / jar.file_name).exists()]
            _fetch(missing, folder, progress or (lambda done, total: None), download or from_maven_central)
    return os.pathsep.join(str(folder / jar.file_name) for jar in jars)


@contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetch(jars: Sequence[Jar], folder: Path, progress: Progress, download: Download) -> None:
    staged = tempfile.TemporaryDirectory(dir=folder, prefix=".part-")
    with staged as staging, ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        waiting = [pool.submit(_fetch_one, jar, Path(staging), folder, download) for jar in jars]
        try:
            for done, future in enumerate(as_completed(waiting), 1):
                future.result()
                progress(done, len(jars))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch_one(jar: Jar, staging: Path, folder: Path, download: Download) -> None:
    fetched = download(jar, staging)
    actual = _sha256(fetched)
    if actual != jar.sha256:
        raise StackError(
            f"{jar.file_name} has SHA-256 {actual}, the lock says {jar.sha256}: what was fetched is not "
            "what this release was tested with; do not use it, and check the Maven mirror in use"
        )
    fetched.replace(folder / jar.file_name)


def from_maven_central(jar: Jar, folder: Path) -> Path:
    """*Raises* `StackError`."""
    try:
        component = _maven(folder).project(jar.group, jar.artifact).at_version(jar.version)
        return component.artifact(classifier=jar.classifier).resolve()
    except (OSError, RuntimeError, AssertionError) as error:  # requests' errors are OSErrors
        raise StackError(
            f"cannot fetch {jar.group}:{jar.artifact}:{jar.version} from Maven Central ({error}); "
            "check the network and run the command again, it goes on where it stopped"
        ) from error


def _maven(repo_cache: Path):  # its client is imported late: it costs 0.3 s
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    repositories = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    return MavenContext(repo_cache=repo_cache, remote_repos=repositories, timeout=30)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _left_out(program: str, group: str) -> bool:
    return any(group == g or group.startswith(f"{g}.") for g in LEFT_OUT.get(program, ()))


def _write_lock(lock: Path, repo_cache: Path) -> None:
    context, coordinates = _maven(repo_cache), lock.read_text().splitlines()[0]
    wanted = [context.create_dependency(c) for c in coordinates.removeprefix("# ").split("+")]
    inputs, transitive = context.resolver.resolve(wanted)
    found = [*inputs, *(d for d in transitive if d.scope in ("compile", "runtime"))]
    jars = (d.artifact for d in found if d.artifact.packaging == "jar")
    artifacts = [a for a in jars if not _left_out(lock.stem, a.groupId)]
    lines = sorted(f"{a.groupId}:{a.artifactId}:{a.version}:{a.classifier}:{_sha256(a.resolve())}" for a in artifacts)
    lock.write_text("\n".join([coordinates, *lines, ""]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for path in sys.argv[1:]:
            _write_lock(Path(path), Path(scratch))
