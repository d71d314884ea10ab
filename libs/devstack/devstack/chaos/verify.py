"""`dataforge ledger verify` after a run: the platform's own proof beside the oracle's."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

_PATIENCE_S = 600.0


async def verify(data: Path) -> tuple[dict[str, Any], list[str]]:
    """Its report and what it objects to, in words. Runs as a process of its own, as a user would run it."""
    command = ("-m", "devstack", "ledger", "verify", "--data", str(data), "--json")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            written, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return {}, [f"ledger verify did not end within {_PATIENCE_S:.0f} s"]
    reports: list[dict[str, Any]] = msgspec.json.decode(written) if written else []
    found = {"domains": reports}
    if process.returncode == 0:
        looked_at = sum(check["looked_at"] for report in reports for check in report["checks"])
        return found, [] if looked_at else ["ledger verify looked at nothing"]
    misfits = [check["first"] for report in reports for check in report["checks"] if check["first"]]
    what = str(misfits[0]) if misfits else said.decode(errors="replace")[-500:]
    return found, [f"ledger verify ended with {process.returncode}: {what}"]
