"""A worker process from its start on, as far as it needs no server."""

import asyncio

import pytest

from dataforge.errors import Fatal, Transient
from dataforge.runtime.settings import ServiceSettings
from dataforge.stream.app import StreamApp


class Server:
    """Not up yet for a while; somebody asks the worker to stop once it is, or has waited long enough."""

    def __init__(self, stop: asyncio.Event, *, away: int, patience: int) -> None:
        self._stop, self._away, self._patience = stop, away, patience
        self.asked = 0
        self.closed = False

    async def reach(self) -> None:
        self.asked += 1
        if self.asked == self._patience:
            self._stop.set()
        if self.asked <= self._away:
            raise Transient("not up yet")

    async def close(self) -> None:
        self.closed = True


def app(server: Server) -> StreamApp:
    settings = ServiceSettings(admin_port=0)
    return StreamApp("worker", settings, [], startup=[server.reach], shutdown=[server.close])


@pytest.mark.parametrize("patience", [3, 4])
async def test_a_server_that_comes_up_late_is_waited_for_until_the_worker_is_to_stop(patience: int) -> None:
    stop = asyncio.Event()
    server = Server(stop, away=3, patience=patience)
    await app(server).serve(stop)
    assert server.asked == patience
    assert server.closed


async def test_a_hook_that_is_no_coroutine_function_is_awaited_and_tried_again_too() -> None:
    stop = asyncio.Event()
    server = Server(stop, away=1, patience=2)
    worker = StreamApp("worker", ServiceSettings(admin_port=0), [], startup=[lambda: server.reach()])
    await worker.serve(stop)
    assert server.asked == 2


async def test_a_hook_that_hangs_keeps_nobody_from_stopping() -> None:
    stop = asyncio.Event()

    async def hang() -> None:
        stop.set()
        await asyncio.Event().wait()

    server = Server(stop, away=0, patience=1)
    worker = StreamApp("worker", ServiceSettings(admin_port=0), [], startup=[hang], shutdown=[server.close])
    async with asyncio.timeout(10):
        await worker.serve(stop)
    assert server.closed


async def test_what_waiting_does_not_mend_ends_the_start() -> None:
    async def misconfigured() -> None:
        raise Fatal("no such topic")

    worker = StreamApp("worker", ServiceSettings(admin_port=0), [], startup=[misconfigured])
    with pytest.raises(Fatal, match="no such topic"):
        await worker.serve(asyncio.Event())


@pytest.mark.parametrize("error", [RuntimeError("what nobody expected"), None])
async def test_a_report_that_ends_by_itself_ends_the_worker(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    worker, failed = StreamApp("worker", ServiceSettings(admin_port=0), []), list[BaseException]()
    monkeypatch.setattr("dataforge.stream.app.process.fail", lambda _doing, why: failed.append(why))

    async def report() -> None:
        if error is not None:
            raise error
        await asyncio.Event().wait()

    reporter = asyncio.create_task(report())
    reporter.add_done_callback(worker._reported)
    await asyncio.sleep(0)
    reporter.cancel()
    await asyncio.wait([reporter])
    assert failed == ([error] if error is not None else [])
