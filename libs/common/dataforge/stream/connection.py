"""Connections to Kafka that tell of a reset in words that aiokafka knows.

uvloop refuses to write to a connection that was reset, by a RuntimeError; asyncio's own loop never does. aiokafka looks
for OSError there. Any other error ends its background tasks for good, without a word to anybody: a consumer whose
fetcher ended keeps its partitions and gets nothing more, one whose metadata task ended never learns of a new leader.

*Source*: aiokafka 0.14.0, `conn.py` (`send`), `client.py` (`_md_synchronizer`), `consumer/fetcher.py`.
"""

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError

AWAY = (KafkaError, OSError, RuntimeError)
"""What a broker that does not answer raises, a deadline that passed among it (TimeoutError is an OSError). uvloop
raises the last where a connection is reset under a request.
"""

_send = AIOKafkaConnection.send


def _send_or_tell(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
    try:
        return _send(self, request, expect_response)
    except RuntimeError as error:
        # Refused before anything was written, so whoever asks again repeats nothing.
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"the connection was reset before the request: {error}") from error


def tell_of_resets() -> None:
    """For all of aiokafka in this process. Called by each module that makes one of its clients."""
    AIOKafkaConnection.send = _send_or_tell
