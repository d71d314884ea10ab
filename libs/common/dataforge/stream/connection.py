"""Connections to Kafka that tell of a reset in words that aiokafka knows, and rest after one that failed.

uvloop refuses to write to a connection that was reset, by a RuntimeError; asyncio's own loop never does. aiokafka looks
for OSError there. Any other error ends its background tasks for good, without a word to anybody: a consumer whose
fetcher ended keeps its partitions and gets nothing more, one whose metadata task ended never learns of a new leader.

A fetcher that knows no leader asks for metadata, and again as soon as that has failed: without a rest that is a
thousand connections a second to a broker that is just starting, and a core of each client's machine.

*Source*: aiokafka 0.14.0, `conn.py` (`send`), `client.py` (`_md_synchronizer`), `consumer/fetcher.py`
(`_fetch_requests_routine`).
"""

import asyncio
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError

AWAY = (KafkaError, OSError, RuntimeError)
"""What a broker that does not answer raises, a deadline that passed among it (TimeoutError is an OSError). uvloop
raises the last where a connection is reset under a request.
"""

REST_S = 0.25
"""After metadata that nobody would give."""

_send = AIOKafkaConnection.send
_metadata_update = AIOKafkaClient._metadata_update


def _send_or_tell(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
    try:
        return _send(self, request, expect_response)
    except RuntimeError as error:
        # Refused before anything was written, so whoever asks again repeats nothing.
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"the connection was reset before the request: {error}") from error


async def _metadata_update_or_rest(self: AIOKafkaClient, cluster_metadata: Any, topics: Any) -> bool:
    updated = await _metadata_update(self, cluster_metadata, topics)
    if not updated:
        await asyncio.sleep(REST_S)
    return updated


def survive_resets() -> None:
    """For all of aiokafka in this process. Called by each module that makes one of its clients."""
    AIOKafkaConnection.send = _send_or_tell
    AIOKafkaClient._metadata_update = _metadata_update_or_rest
