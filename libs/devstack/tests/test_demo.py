"""The demo as a user runs it: a proof that ends by itself, and a live one that ends by Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack.model import Endpoints, State, write
from devstack.oracle.api import Api
from devstack.paths import StackPaths
from devstack.processes import identify

pytestmark = [pytest.mark.integration, pytest.mark.slow]

COMMAND = [sys.executable, "-c", "from devstack.cli import app; app()", "demo"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "--data", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_once_proves_that_every_number_agrees_and_leaves_nothing(tmp_path: Path, watch: Any) -> None:
    left_behind, _ = watch
    file, folder = tmp_path / "new" / "report.json", tmp_path / "data"
    faults = ["--duplicates", "1%", "--late", "1%", "--out-of-order", "1%", "--malformed", "1%"]
    done = run(folder, "--once", "--events", "3000", *faults, "--no-latency", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(file.read_text())
    assert report["problems"] == []
    assert report["sent"] == report["received"] == report["landed"] == sum(report["injected"].values())
    assert report["received"] == report["valid"] + sum(report["quarantined"].values()) + report["undecodable"]
    assert report["valid"] == report["counted"] + report["duplicates"] + report["late"]
    assert report["late"] > 5
    assert report["duplicates"] > 20
    assert report["windows_compared"] == report["windows_equal"] > 1_000
    assert report["windows_missing"] == report["windows_extra"] == 0
    assert left_behind(folder) == []
    assert not folder.exists()


def test_a_used_folder_is_refused_for_a_proof(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    done = run(tmp_path, "--once")
    assert done.returncode == 2
    assert "not empty" in done.stderr


def test_a_folder_on_which_a_stack_runs_is_refused(tmp_path: Path) -> None:
    """It would be brought to the demo's domain, and stopped at the demo's end."""
    write(StackPaths(tmp_path).state, State("ready", 1, identify(os.getpid()), Endpoints(), (), {}, [], []))
    done = run(tmp_path)
    assert done.returncode == 2
    assert "dataforge replay retail" in done.stderr


@pytest.fixture
def live(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    command = [*COMMAND, "--data", str(tmp_path / "data"), "--rate", "500"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as demo:
        yield demo
        demo.kill()


def test_live_shows_an_address_that_answers_and_ends_by_ctrl_c(
    live: subprocess.Popen[str], tmp_path: Path, watch: Any
) -> None:
    left_behind, _ = watch
    assert live.stdout is not None
    said: list[str] = []
    for line in live.stdout:
        said.append(line)
        if found := re.search(r"(http://\S+)/#token=\S+", line):
            break
    else:
        pytest.fail("no address: " + "".join(said))
    with Api(found[1], "none") as api:
        assert b"<html" in api.get("/").lower()
    live.send_signal(signal.SIGINT)
    rest, _ = live.communicate(timeout=60)
    assert live.returncode == 0, rest
    assert left_behind(tmp_path) == []
