"""Removes the containers and networks of a test run when the run has ended, however it ended.

The run holds the other end of this process's standard input: the kernel closes it even on SIGKILL. It is the
only place that removes anything, so the way that is taken when all is well is the one that is proven.
"""

import subprocess
import sys

import docker
from docker.errors import APIError, NotFound


def start(label: str) -> subprocess.Popen[bytes]:
    """Watch over everything that will carry `label` (`key=value`). Closing its stdin makes it remove and end."""
    return subprocess.Popen(
        [sys.executable, "-m", "devstack.testing.reaper", label],
        stdin=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C in the terminal is for the tests
    )


def remove(label: str) -> None:
    client = docker.from_env(timeout=60)
    for container in client.containers.list(all=True, filters={"label": label}, ignore_removed=True):
        try:
            container.remove(force=True, v=True)
        except NotFound:
            continue
        except APIError as error:
            print(f"container {container.name} stays: {error}", file=sys.stderr)
    for network in client.networks.list(filters={"label": label}):
        network.remove()
    client.close()


if __name__ == "__main__":
    sys.stdin.buffer.read()
    remove(sys.argv[1])
