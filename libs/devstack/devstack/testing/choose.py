"""Containers or the embedded stack: decided once, before the first test, and said aloud."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devstack.testing.settings import BackendSettings, Images

if TYPE_CHECKING:
    from docker import DockerClient

_SOCKET = "/var/run/docker.sock"


class NoDocker(Exception):
    """Containers were asked for and cannot be had; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend of this run, and one line about it for a person."""

    docker: bool
    line: str


def choose(settings: BackendSettings, problem: Callable[[BackendSettings], str]) -> Choice:
    """`problem` tells why containers cannot run, or nothing; it is asked only where it matters.

    *Raises* `NoDocker` where containers are required and `problem` has an answer.
    """
    if settings.backend == "embedded":
        return Choice(False, "embedded stack (make it-docker: the same in containers)")
    reason = problem(settings)
    if not reason:
        return Choice(True, f"containers ({', '.join(settings.images.all())})")
    if settings.docker_required:
        raise NoDocker(f"REQUIRE_DOCKER=1, but {reason}; deploy/docker/engine.sh starts an engine and gets the images")
    return Choice(False, f"embedded stack, because {reason}")


def docker_problem(settings: BackendSettings) -> str:
    """Why containers cannot run here; empty where an engine answers a ping and has the images or can pull them."""
    import docker
    from docker.errors import DockerException

    host = settings.docker_host
    if host and not host.startswith("unix://"):
        return f"the engine at {host} is not on this machine, and the tests reach servers through loopback"
    try:
        _listens(host.removeprefix("unix://") or _SOCKET)
        client = docker.from_env(timeout=60)
        try:
            client.ping()
            return _missing_image(client, settings.images)
        finally:
            client.close()
    except (DockerException, OSError) as error:
        return f"no Docker engine answers ({_first_line(error)})"


def _listens(path: str) -> None:
    """Asked before docker's client, which leaves a socket open where nobody listens. *Raises* `OSError`."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            raise OSError(f"{path}: {error.strerror}") from error


def _missing_image(client: "DockerClient", images: Images) -> str:
    from docker.errors import APIError, ImageNotFound

    for name in images.all():
        try:
            client.images.get(name)
        except ImageNotFound:
            try:
                client.images.pull(name)
            except APIError as error:
                return f"image {name} is not here and cannot be pulled ({_first_line(error)})"
    return ""


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
