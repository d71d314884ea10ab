"""The Faust app around the batch transport: its settings, and agents that do nothing but hand batches to lanes."""

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import faust
from faust.app.base import BootStrategy
from faust.serializers.schemas import Schema
from faust.tables.manager import TableManager

from dataforge.runtime.watchdog import Watchdog
from dataforge.stream.lane import Fail
from dataforge.stream.lanes import Lanes
from dataforge.stream.records import RecordBatch

_faust_logger = logging.getLogger("faust.app")

MAX_FETCH_BYTES = 8 * 1024 * 1024
"""A partition's share of one fetch. A larger record still comes, alone."""


_NEVER_S = 365 * 86_400.0


class _Batches(Schema):
    """The message's value is the batch already."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:
        return None

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:
        return message.value


class _Tables(TableManager):
    """No tables; so no second of waiting for them at start."""

    logger = _faust_logger

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class _Boot(BootStrategy):
    enable_web = False
    enable_kafka_producer = False

    def kafka_consumer(self) -> Iterable[Any]:
        """Without the leader and reply services, whose topics nobody needs."""
        return [self.app.consumer]


class BatchApp(faust.App):
    """A Faust app whose agents get batches. `settings` are Faust's own, by FAUST's names."""

    BootStrategy = _Boot
    logger = _faust_logger

    def __init__(
        self,
        group: str,
        *,
        servers: Sequence[str],
        lanes: Lanes,
        fail: Fail,
        watchdog: Watchdog,
        request_timeout_s: float,
        rest_s: float,
        **settings: Any,
    ) -> None:
        self.servers, self.lanes, self.fail, self.watchdog = list(servers), lanes, fail, watchdog
        self.request_timeout_s, self.rest_s = request_timeout_s, rest_s
        defaults: dict[str, Any] = {
            "TableManager": _Tables,
            "autodiscover": False,
            "broker": [f"kafka-batch://{server}" for server in servers],
            "broker_max_poll_records": 2000,
            # After these, Faust's recovery would leave a partition that is still opening and never resume, and aiokafka
            # would leave the group of a process that does not poll meanwhile. The watchdog is for those that hang.
            "broker_request_timeout": _NEVER_S,
            "broker_max_poll_interval": _NEVER_S,
            "consumer_max_fetch_size": MAX_FETCH_BYTES,
            "store": "memory://",
            "stream_buffer_maxsize": 2,  # batches, not records
            "stream_wait_empty": False,
            "table_standby_replicas": 0,  # more would select Faust's own assignor
            "topic_allow_declare": False,
            "topic_disable_leader": True,
            "web_enabled": False,
        }
        super().__init__(group, **defaults | settings)

    def _create_directories(self) -> None:
        """None: there are no tables to keep in them."""

    def add_agent(self, name: str, topics: Iterable[str]) -> None:
        """An agent that takes the batches of these topics and puts each in its partition's lane."""
        offer = self.lanes.offer

        async def agent(stream: AsyncIterator[RecordBatch]) -> None:
            async for batch in stream:
                offer(batch)

        channel = self.topic(*topics, acks=False, schema=_Batches())
        declared = self.agent(channel, name=name, concurrency=1)(agent)  # pyright: ignore[reportArgumentType]
        # The decorator's own on_error argument raises TypeError, and Faust's supervisor restarts for ever.
        declared._on_error = self._leave_on_error  # pyright: ignore[reportAttributeAccessIssue]

    async def _leave_on_error(self, agent: Any, error: BaseException) -> None:
        self.fail(f"agent {agent}", error)
