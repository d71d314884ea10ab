"""What a worker process is: sources, each an agent on the batch transport, with health and an end.

A service's own `app.py` builds a `StreamApp` and calls `run`.

*Guarantees*: each assigned partition is opened before it is read, read in order without gap or overlap, and
closed before it is given away; positions come from `PartitionWork.open` alone; an error that is not
`Transient` ends the process with exit code 1 and nothing committed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_random_exponential,
)

from dataforge.errors import Transient
from dataforge.runtime import metrics, process
from dataforge.runtime.admin import AdminServer, Check
from dataforge.runtime.logs import configure_logging
from dataforge.runtime.settings import ServiceSettings
from dataforge.runtime.tracing import configure_tracing, stop_tracing
from dataforge.runtime.watchdog import Watchdog
from dataforge.stream.connection import AWAY
from dataforge.stream.faust_app import BatchApp
from dataforge.stream.lanes import Lanes
from dataforge.stream.pacing import REST_S
from dataforge.stream.records import TopicPartition
from dataforge.stream.transport import Consumer
from dataforge.stream.work import Source

logger = logging.getLogger(__name__)

Hook = Callable[[], Awaitable[object]]

HEARTBEAT_S = 1
REBALANCE_TIMEOUT_S = 8
CLOSE_DEADLINE_S = 5
REPORT_S = 5
STOP_DEADLINE_S = 5


class StreamApp:
    """One worker process. `startup` hooks run in order before the first partition opens, `shutdown` hooks at the end.

    `checks` are added to readiness, which is "assigned, and all partitions open" (a worker that a completed
    rebalance left without partitions is ready); `remarks` are shown beside it. The group is `name` unless
    `group` says otherwise. While there is little, it fetches every `rest_s`, unless the settings say another time.
    """

    def __init__(
        self,
        name: str,
        settings: ServiceSettings,
        sources: Sequence[Source],
        *,
        checks: Mapping[str, Check] | None = None,
        remarks: Mapping[str, Check] | None = None,
        startup: Sequence[Hook] = (),
        shutdown: Sequence[Hook] = (),
        group: str | None = None,
        rest_s: float = REST_S,
    ) -> None:
        self.name, self.settings, self.sources = name, settings, sources
        self.watchdog = Watchdog(settings.stall_limit_s)
        self.lanes = Lanes(
            sources,
            fail=process.fail,
            watchdog=self.watchdog,
            close_deadline_s=CLOSE_DEADLINE_S,
        )
        self.admin = AdminServer(
            settings.admin_port,
            {"partitions": self._unready, **(checks or {})},
            host=settings.admin_host,
            alive=self.watchdog.problem,
            remarks=remarks,
        )
        self._startup, self._shutdown = startup, shutdown
        self._group = group or name
        self._rest_s = settings.fetch_rest_ms / 1000 if settings.fetch_rest_ms else rest_s

    def run(self) -> NoReturn:
        """Run until SIGTERM or SIGINT, then close the partitions, leave the group, exit 0. Failing: exit 1."""
        configure_logging(self.name, self.settings.log_level)
        configure_tracing(self.name, self.settings.otlp_endpoint, instance=self.settings.instance)
        process.run(self.serve)

    async def serve(self, stop: asyncio.Event) -> None:
        """The process's life, for `run` and for tests. *Raises* `Fatal`, and what the hooks raise."""
        self.watchdog.start()
        await self.admin.start()
        reporter: asyncio.Task[None] | None = None
        try:
            if not await self._begun(stop):
                return
            faust_app = self._build()
            await faust_app.start()
            reporter = asyncio.create_task(self._report(faust_app))
            reporter.add_done_callback(self._reported)
            await self._until(stop, faust_app)
            reporter.cancel()
            await self._leave(faust_app)
        finally:
            if reporter is not None:
                reporter.cancel()
            await self._shut_down()
            self.watchdog.stop()
            await asyncio.to_thread(stop_tracing)

    async def _begun(self, stop: asyncio.Event) -> bool:
        """Every startup hook has run; False where it was asked to stop before, whatever a hook waits for then."""
        starting, stopping = asyncio.create_task(self._begin()), asyncio.create_task(stop.wait())
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if starting.done():
            starting.result()
            return not stop.is_set()
        starting.cancel()
        _, late = await asyncio.wait([starting], timeout=STOP_DEADLINE_S)
        if late:  # the loop would wait for it at its end
            process.die(process.EXIT_STOPPED)
        return False

    async def _begin(self) -> None:
        """Call each hook, again and again while it is `Transient`: a server that comes up later is waited for.

        Ending instead would cost a whole start more, and the supervisor's back-off.
        """
        for hook in self._startup:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(Transient),
                wait=wait_random_exponential(multiplier=0.1, max=2),
                before_sleep=_say_why,
                reraise=True,
            ):
                with attempt:
                    await hook()

    async def _shut_down(self) -> None:
        """Within a deadline: a client whose server is away must not keep a process that has nothing left to do."""
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                for hook in self._shutdown:
                    await hook()
                await self.admin.stop()
        except TimeoutError:
            logger.warning("not everything was closed within %s s; leaving all the same", STOP_DEADLINE_S)

    def _build(self) -> BatchApp:
        settings = self.settings
        app = BatchApp(
            self._group,
            lanes=self.lanes,
            fail=process.fail,
            watchdog=self.watchdog,
            servers=settings.kafka.split(","),
            broker_client_id=settings.instance or self.name,
            broker_heartbeat_interval=HEARTBEAT_S,
            broker_rebalance_timeout=REBALANCE_TIMEOUT_S,
            request_timeout_s=settings.request_timeout_s,
            rest_s=self._rest_s,
            broker_session_timeout=settings.session_timeout_s,
            consumer_group_instance_id=settings.instance and f"{self._group}-{settings.instance}",
        )
        for source in self.sources:
            app.add_agent(source.name, source.topics)
        return app

    def _reported(self, reporter: asyncio.Task[None]) -> None:
        """Without it nobody would notice a consumer that failed, or a topic that was replaced."""
        if not reporter.cancelled() and (error := reporter.exception()) is not None:
            process.fail("the report", error)

    async def _until(self, stop: asyncio.Event, app: BatchApp) -> None:
        """Until asked to stop. Ends the process where Faust's services crashed: what they held may hang for ever."""
        tasks = [asyncio.create_task(stop.wait()), asyncio.create_task(app._crashed.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        if app.crash_reason is not None and not stop.is_set():
            process.fail("the consumer", app.crash_reason)

    async def _leave(self, app: BatchApp) -> None:
        """Close the partitions, report their last positions, leave the group."""
        consumer = app.consumer
        assert isinstance(consumer, Consumer)  # noqa: S101 - the transport's own
        consumer.stop_flow()
        open_lanes = self.lanes.snapshot()
        await self.lanes.close()
        with suppress(*AWAY):
            async with asyncio.timeout(1):
                await consumer.report({tp: lane.work.position for tp, lane in open_lanes.items()})
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                await app.stop()
        except TimeoutError:
            logger.warning("the consumer did not stop within %s s; leaving without it", STOP_DEADLINE_S)

    async def _report(self, app: BatchApp) -> None:
        """Position and lag each second; every few seconds to the group, and whether the topics are still the same."""
        consumer = app.consumer
        assert isinstance(consumer, Consumer)  # noqa: S101
        rounds = 0
        ends: Mapping[TopicPartition, int] = {}
        while True:
            await asyncio.sleep(1)
            rounds += 1
            try:
                consumer.check()
            except Exception as error:  # noqa: BLE001 - aiokafka would go on without a group
                process.fail("the consumer group", error)
            positions = self.lanes.positions()
            assigned = consumer.assignment()
            for tp, position in positions.items():
                if tp in assigned:
                    metrics.POSITION.labels(*tp).set(position)
                    # What is held is not fetched either, so the consumer's own idea of its end stands still.
                    end = max(consumer.highwater(tp), ends.get(tp, 0))  # pyright: ignore[reportArgumentType]
                    metrics.LAG.labels(*tp).set(max(0, end - position))
            if rounds % REPORT_S == 0:
                with suppress(*AWAY):
                    async with asyncio.timeout(REPORT_S):
                        ends = await consumer.ends(positions)
                with suppress(*AWAY):
                    async with asyncio.timeout(REPORT_S):
                        await consumer.report(positions)
                with suppress(TimeoutError):
                    async with asyncio.timeout(REPORT_S):
                        await self.lanes.compare()
                with suppress(*AWAY):
                    async with asyncio.timeout(REPORT_S):
                        await consumer.share_anew()

    def _unready(self) -> str | None:
        return None if self.lanes.ready else "not assigned yet, or partitions are still opening"


def _say_why(state: RetryCallState) -> None:
    logger.warning("not started yet: %s", state.outcome and state.outcome.exception())
