"""Start processes that cannot be left behind, and end them for certain.

Each child leads its own session and process group, so a terminal's Ctrl-C reaches only the supervisor, and
whatever the child starts ends with it. On Linux the kernel also kills a child whose parent thread dies.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

_PR_SET_PDEATHSIG = 1
_SLACK = 2.0
_LOG_KEPT_BYTES = 32 * 1024 * 1024


class ProcessId(msgspec.Struct, frozen=True):
    """A pid that stays true when the number is used again: `started` tells two processes apart."""

    pid: int
    started: float
    """On Linux in ticks since the machine started, which no step of the clock changes; elsewhere in seconds of the
    clock.
    """

    def process(self) -> psutil.Process | None:
        """The running process, or None where it has ended (a zombie has ended)."""
        try:
            process = psutil.Process(self.pid)
            if not self._is_it():
                return None
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except psutil.NoSuchProcess:
            return None

    def alive(self) -> bool:
        return self.process() is not None

    def group(self) -> list[int]:
        """Pids that run in this process's group, also where the leader itself has ended."""
        if psutil.pid_exists(self.pid) and not self._is_or_was_leader():
            return []  # the number belongs to somebody else now
        return [p for p in psutil.pids() if _group_of(p) == self.pid and _runs(p)]

    def _is_or_was_leader(self) -> bool:
        try:
            return self._is_it()
        except psutil.NoSuchProcess:
            return True

    def _is_it(self) -> bool:
        """*Raises* `psutil.NoSuchProcess`."""
        return abs(_started(self.pid) - self.started) <= _SLACK


def _started(pid: int) -> float:
    """*Raises* `psutil.NoSuchProcess`. *Source*: proc_pid_stat(5), field 22."""
    if sys.platform != "linux":
        return psutil.Process(pid).create_time()
    try:
        said = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    return float(said.rpartition(")")[2].split()[19])  # a command's name may hold anything


def identify(pid: int) -> ProcessId:
    """*Raises* `psutil.NoSuchProcess`."""
    return ProcessId(pid, _started(pid))


def spawn(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, dies_with_parent: bool = True
) -> subprocess.Popen[bytes]:
    """Start a group leader whose output goes to the end of `log`.

    *Guarantees*: with `dies_with_parent`, on Linux, the child gets SIGKILL when the calling *thread* ends,
    however it ends: call it from a thread that lives as long as the child should.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    cwd.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_KEPT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with(os.getpid()) if dies_with_parent else None,
        )


def _die_with(parent: int) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None  # there `down` ends the children by the state file
    libc = ctypes.CDLL(None, use_errno=True)  # loaded here: nothing may be imported between fork and exec

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the request was made
            os._exit(1)

    return in_child


def signal_groups(leaders: Iterable[ProcessId], number: int) -> None:
    """Send a signal to every process of these groups; those that ended meanwhile are passed over."""
    for leader in leaders:
        if leader.group():
            try:
                os.killpg(leader.pid, number)
            except (ProcessLookupError, PermissionError):
                continue


def end_groups(leaders: Sequence[ProcessId], *, within_s: float) -> list[ProcessId]:
    """SIGTERM, wait, then SIGKILL. Blocking. Returns those that still run (only where the kernel holds them)."""
    signal_groups(leaders, signal.SIGTERM)
    if not _wait_gone(leaders, within_s):
        signal_groups(leaders, signal.SIGKILL)
        _wait_gone(leaders, 5.0)
    return [leader for leader in leaders if leader.group()]


def _wait_gone(leaders: Sequence[ProcessId], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while any(leader.group() for leader in leaders):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
