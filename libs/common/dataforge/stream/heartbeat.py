"""The heartbeat of a static group member, which aiokafka does not have: version 3 names the instance.

Without the name, Kafka tells a member whose place another process took only that it is not known; it would join again
and take the place back, and so on for ever. With it, Kafka says that it is fenced.

*Source*: KIP-345; Apache Kafka's `HeartbeatRequest.json`, version 3.
"""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.protocol.group import HeartbeatRequest, HeartbeatResponse_v1
from aiokafka.protocol.types import Int32, Schema, String

from dataforge.errors import Fatal

FENCED_INSTANCE_ID = 82

Send = Callable[[Any], Awaitable[Any]]


class HeartbeatResponse_v3(HeartbeatResponse_v1):
    API_VERSION = 3  # pyright: ignore


class HeartbeatRequest_v3(RequestStruct):
    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = HeartbeatResponse_v3
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class StaticHeartbeatRequest(Request[HeartbeatRequest_v3]):
    """*Raises* (when sent) where the broker is older than 2.3."""

    API_KEY: ClassVar[int] = 12

    def __init__(self, plain: HeartbeatRequest, instance: str) -> None:
        self._plain, self._instance = plain, instance

    def build(self, request_struct_class: type[HeartbeatRequest_v3]) -> HeartbeatRequest_v3:
        plain = self._plain
        return request_struct_class(plain._group, plain._generation_id, plain._member_id, self._instance)


def naming(send: Send, instance: str, fail: Callable[[str, BaseException], None]) -> Send:
    """`send` of a group's requests, whose heartbeats name the instance; being fenced ends the process."""

    async def send_named(request: Any) -> Any:
        if not isinstance(request, HeartbeatRequest):
            return await send(request)
        answer = await send(StaticHeartbeatRequest(request, instance))
        if answer.error_code == FENCED_INSTANCE_ID:
            fail(
                "the consumer group",
                Fatal(
                    f"another process has the instance name {instance} and took this one's place. Give each process "
                    "of a service a name of its own (DATAFORGE_INSTANCE), or none"
                ),
            )
        return answer

    return send_named
