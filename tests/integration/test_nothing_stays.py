"""A test run that is killed leaves no server behind, neither process nor container."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.core]

KILLED = """
import os, signal

def test_killed(kafka, redis_url):
    with open(os.environ["REPORT"], "w") as report:
        print(kafka, redis_url.removeprefix("redis://").removesuffix("/0"), file=report)
    os.kill(os.getpid(), signal.SIGKILL)
"""


async def answers(address: str) -> bool:
    host, port = address.split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


async def test_servers_go_with_a_run_that_is_killed(tmp_path: Path) -> None:
    report = tmp_path / "addresses"
    (tmp_path / "test_killed.py").write_text(KILLED)
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "devstack.testing.plugin", "-p", "no:cacheprovider"),
        *("--rootdir", tmp_path, "--basetemp", tmp_path / "base", tmp_path / "test_killed.py"),
        cwd=tmp_path,
        env=os.environ | {"REPORT": str(report)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await run.communicate()
    assert run.returncode == -signal.SIGKILL, output.decode()
    async with asyncio.timeout(30):
        for address in report.read_text().split():
            while await answers(address):
                await asyncio.sleep(0.05)
