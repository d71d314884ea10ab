"""Which backend a test run gets, for every wish and every machine."""

import gc
from pathlib import Path

import pytest

from devstack.testing.choose import NoDocker, choose, docker_problem
from devstack.testing.settings import BackendSettings, Images, read

NO_ENGINE = "no Docker engine answers"


def never_asked(_: BackendSettings) -> str:
    raise AssertionError("the engine was asked where it does not matter")


def test_without_a_wish_the_embedded_stack_serves_and_no_engine_is_asked():
    assert not choose(read({}), never_asked).docker


@pytest.mark.parametrize("backend", ["docker", "auto"])
def test_containers_serve_where_an_engine_answers(backend: str):
    choice = choose(read({"DATAFORGE_TEST_BACKEND": backend}), lambda _: "")
    assert choice.docker
    assert Images().kafka in choice.line


@pytest.mark.parametrize("backend", ["docker", "auto"])
def test_without_an_engine_the_embedded_stack_serves_and_says_why(backend: str):
    choice = choose(read({"DATAFORGE_TEST_BACKEND": backend}), lambda _: NO_ENGINE)
    assert not choice.docker
    assert NO_ENGINE in choice.line


@pytest.mark.parametrize("wish", [{}, {"DATAFORGE_TEST_BACKEND": "docker"}, {"DATAFORGE_TEST_BACKEND": "auto"}])
def test_a_required_engine_that_does_not_answer_is_a_failure(wish: dict[str, str]):
    with pytest.raises(NoDocker, match=NO_ENGINE):
        choose(read({"REQUIRE_DOCKER": "1", **wish}), lambda _: NO_ENGINE)


def test_a_required_engine_that_answers_is_used():
    assert choose(read({"REQUIRE_DOCKER": "1"}), lambda _: "").docker


@pytest.mark.parametrize(
    "env", [{"DATAFORGE_TEST_BACKEND": "podman"}, {"DATAFORGE_TEST_BACKEND": "embedded", "REQUIRE_DOCKER": "1"}]
)
def test_a_wish_that_makes_no_sense_names_its_variable(env: dict[str, str]):
    with pytest.raises(ValueError, match="DATAFORGE_TEST_BACKEND"):
        read(env)


def test_image_names_come_from_the_environment():
    assert read({"DATAFORGE_TEST_REDIS_IMAGE": "redis:7"}).images == Images(valkey="redis:7")


@pytest.mark.parametrize("socket_exists", [True, False])
def test_an_engine_that_does_not_answer_is_named_and_leaves_nothing_open(tmp_path: Path, socket_exists: bool):
    path = tmp_path / "docker.sock"
    if socket_exists:
        path.touch()
    assert str(path) in docker_problem(read({"DOCKER_HOST": f"unix://{path}"}))
    gc.collect()  # a socket left open would be a warning, and warnings are errors


def test_an_engine_elsewhere_is_not_used():
    assert "not on this machine" in docker_problem(read({"DOCKER_HOST": "tcp://192.0.2.1:2376"}))
