"""`dataforge lake prove` as a user runs it: a stack, a replay, jobs killed in the middle, and every row by the oracle.

Two minutes and the lake's environment: `make lake-test` runs it (LAKE=all).
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("LAKE") != "all", reason="`make lake-test` has it"),
]

COMMAND = [sys.executable, "-c", "from devstack.cli import app; app()"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.timeout(1200)
def test_every_row_of_the_lake_is_the_oracles(tmp_path: Path) -> None:
    data, file = str(tmp_path / "data"), tmp_path / "proof.json"
    started = run("up", "--data", data)
    assert started.returncode == 0, started.stderr
    try:
        done = run("lake", "prove", "--data", data, "--events", "20000", "--malformed", "0.5%", "--json", str(file))
        again = run("lake", "prove", "--data", data)
    finally:
        run("down", "--data", data)
    assert done.returncode == 0, done.stdout + done.stderr
    proof: dict[str, Any] = json.loads(file.read_text())
    assert proof["problems"] == []
    assert proof["compared"] == proof["equal"] > 40_000
    assert len(set(proof["sales_cents"].values())) == 1
    assert [(kill["job"], kill["moment"]) for kill in proof["kills"]] == [
        ("bronze", "in a commit"),
        ("silver", "between commits"),
        ("gold", "while writing"),
    ]
    assert proof["agree"]["unexplained"] == 0 < proof["agree"]["explained"]
    assert again.returncode == 2, "a proof counts from nothing"
    assert "holds records already" in again.stderr
