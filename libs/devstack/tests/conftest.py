"""What the devstack's tests share: a folder for a stack, and a look at what still runs in it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

T = TypeVar("T")


def left_behind(folder: Path) -> list[psutil.Process]:
    """Every process that works in this folder: servers, services and the supervisor all do."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
            continue
    return found


def eventually(condition: Callable[[], T], *, within_s: float = 20.0) -> T:
    """The condition's first true value. Fails the test where there is none in time."""
    deadline = time.monotonic() + within_s
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not true within {within_s} s: {condition}"
        time.sleep(0.02)


@pytest.fixture
def watch() -> Any:
    """`left_behind` and `eventually`, for tests that cannot import their neighbours."""
    return left_behind, eventually


@pytest.fixture
def make_domain(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes the smallest domain there can be: one event."""

    def make(name: str, *, event_time: str = "at") -> Path:
        folder = tmp_path_factory.mktemp("domains") / name
        folder.mkdir()
        contract = {
            "type": "object",
            "properties": {"id": {"type": "string"}, "at": {"type": "string", "format": "date-time"}},
            "required": ["id", "at"],
            "x-dataforge": {"id": "id", "event_time": event_time},
        }
        (folder / "thing.v1.json").write_text(json.dumps(contract))
        return folder

    return make
