import signal
import subprocess
import sys

import pytest

PRELUDE = """
import asyncio, sys
from dataforge.errors import Fatal
from dataforge.runtime.process import die, run
from dataforge.runtime.logs import configure_logging
configure_logging("svc")
"""


def start(main: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + main], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


WAITS = """
async def main(stop):
    print("up", flush=True)
    await stop.wait()
run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_order(number: signal.Signals) -> None:
    process = start(WAITS)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert '"message":"stopped"' in err


def test_a_second_signal_leaves_at_once() -> None:
    process = start(
        """
async def main(stop):
    print("up", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    await asyncio.Event().wait()
run(main)
"""
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("raise Fatal('the log was replaced')", 1, "the log was replaced"),
        ("raise ValueError('odd')", 1, "ValueError: odd"),
        ("sys.exit(2)", 2, ""),
        ("die()", 1, ""),
        ("return", 0, "stopped"),
    ],
)
def test_exit_codes_and_last_words(body: str, code: int, words: str) -> None:
    process = start(f"async def main(stop):\n    {body}\nrun(main)\n")
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert words in err
