"""`dataforge ledger verify` after a run: the platform's own proof beside the oracle's."""

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Any

import msgspec

_PATIENCE_S = 600.0


async def verify(data: Path) -> tuple[dict[str, Any], list[str]]:
    """Its report and what it objects to, in words. Runs as a process of its own, as a user would run it."""
    if importlib.util.find_spec("devstack.commands.ledger") is None:
        return {}, []
    written = data / "verify.json"
    command = ("-m", "devstack", "ledger", "verify", "--data", str(data), "--json", str(written))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return {}, [f"ledger verify did not end within {_PATIENCE_S:.0f} s"]
    report = msgspec.json.decode(written.read_bytes()) if written.exists() else {}
    if process.returncode == 0:
        return report, []
    return report, [f"ledger verify ended with {process.returncode}: {said.decode(errors='replace')[-500:]}"]
