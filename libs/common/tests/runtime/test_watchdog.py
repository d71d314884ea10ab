import asyncio
import threading

from dataforge.runtime.watchdog import Watchdog, progress, waiting


async def test_a_loop_that_hangs_ends_the_process() -> None:
    died = threading.Event()
    dog = Watchdog(0.1, die=died.set)
    dog.start()
    # Blocks the loop, as a runaway computation would; only the watchdog's thread can end this wait.
    assert died.wait(timeout=10)
    dog.stop()


async def test_work_that_hangs_ends_the_process_and_is_named() -> None:
    died = asyncio.Event()
    loop = asyncio.get_running_loop()
    dog = Watchdog(0.1, die=lambda: loop.call_soon_threadsafe(died.set))
    dog.start()
    with dog.watch("take raw/0"):
        await asyncio.wait_for(died.wait(), 10)
        assert "take raw/0" in (dog.problem() or "")
    dog.stop()


async def test_work_that_ends_is_forgotten() -> None:
    dog = Watchdog(0.1, die=lambda: None)
    dog.start()
    with dog.watch("poll"):
        pass
    assert dog.problem(limit_s=0.05) is None
    dog.stop()


async def test_work_that_goes_on_does_not_hang_nor_does_who_waits_for_others() -> None:
    dog = Watchdog(1_000, die=lambda: None)
    with dog.watch("open raw/0"):
        await asyncio.sleep(0.05)
        assert "open raw/0" in (dog.problem(0.04) or "")
        progress()
        assert "open raw/0" not in (dog.problem(0.04) or "")
        await asyncio.sleep(0.05)
        with waiting():
            assert "open raw/0" not in (dog.problem(0.04) or "")
        assert "open raw/0" not in (dog.problem(0.04) or "")
        await asyncio.sleep(0.05)
        assert "open raw/0" in (dog.problem(0.04) or "")
    progress()
    with waiting():
        assert "open raw/0" not in (dog.problem(0) or "")
