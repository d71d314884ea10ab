"""The listening socket: the handshake, the origin check, and the clock of all connections."""

import asyncio
import time
from urllib.parse import urlsplit

from picows import WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener, ws_create_server

from dataforge.kpi.catalogue import Catalogue

from ws_gateway import protocol
from ws_gateway.connection import Connection, same_token
from ws_gateway.hub import Hub
from ws_gateway.ledgers import Ledgers
from ws_gateway.protocol import CloseCode, ProtocolError
from ws_gateway.settings import Limits

_FORBIDDEN = ProtocolError(
    "forbidden", "this origin may not connect", "name it in DATAFORGE_ALLOWED_ORIGINS", close=CloseCode.FORBIDDEN
)
_FULL = ProtocolError(
    "too_many_clients", "this server is full", "try again later", close=CloseCode.TOO_MUCH, retryable=True
)
_BAD_TOKEN = ProtocolError(
    "unauthorized",
    "the token in the subprotocol is not valid",
    "it is DATAFORGE_API_TOKEN of the platform",
    close=CloseCode.UNAUTHORIZED,
)

_READ_BYTES = 2048
"""Of a client's read buffer at first: clients say little, and are many."""
_BACKLOG = 1024
"""Clients of a gateway that has restarted come back all at once."""


class Server:
    def __init__(
        self,
        hub: Hub,
        ledgers: Ledgers,
        catalogue: Catalogue,
        *,
        token: str | None,
        origins: tuple[str, ...] = (),
        limits: Limits | None = None,
        max_clients: int = 2_000,
    ) -> None:
        self._hub = hub
        self._ledgers = ledgers
        self._catalogue = catalogue
        self._token = token
        self._origins = origins
        self._limits = limits or Limits()
        self._max_clients = max_clients
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen. *Raises* OSError where the port is taken."""
        self._server = await ws_create_server(
            self._handshake,
            host,
            port,
            max_frame_size=self._limits.message_bytes,
            read_buffer_init_size=_READ_BYTES,
            enable_auto_ping=False,
            backlog=_BACKLOG,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, and tell every client to come back elsewhere."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.out.close(CloseCode.GOING_AWAY, "the server is stopping")

    def tick(self) -> None:
        now_s = time.monotonic()
        for connection in list(self._connections):
            connection.tick(now_s)

    def _handshake(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        headers = request.headers
        if headers.get("Upgrade", "").lower() != "websocket":
            body = b"This is the live feed: connect with WebSocket, subprotocol dataforge.v1.\n"
            refused = WSUpgradeResponse.create_error_response(426, body, {"Upgrade": "websocket"})
            return WSUpgradeResponseWithListener(refused, None)
        offered = [p.strip() for p in headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()]
        if offered and protocol.NAME not in offered:
            body = f"This server speaks {protocol.NAME}.\n".encode()
            return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(400, body), None)
        token, refusal = self._token, None
        for given in (p.removeprefix(protocol.TOKEN_PREFIX) for p in offered if p.startswith(protocol.TOKEN_PREFIX)):
            if token is not None and not same_token(given, token):
                refusal = _BAD_TOKEN
            token = None
        if not origin_allowed(headers.get("Origin"), headers.get("Host", ""), self._origins):
            refusal = _FORBIDDEN
        elif len(self._connections) >= self._max_clients:
            refusal = _FULL
        # Refused clients are let in and closed at once: a browser shows a page only a close code, no HTTP status.
        connection = Connection(
            self._hub, self._ledgers, self._catalogue, self._limits, self._connections, token, refusal
        )
        chosen = {"Sec-WebSocket-Protocol": protocol.NAME} if offered else None
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(chosen), connection)


def origin_allowed(origin: str | None, host: str, allowed: tuple[str, ...]) -> bool:
    """Clients that are no browsers send no origin. `scheme://name:*` allows any port. Pure."""
    if origin is None or origin in allowed:
        return True
    parts = urlsplit(origin)
    if parts.netloc and parts.netloc == host:
        return True
    return "*" in allowed or f"{parts.scheme}://{parts.hostname}:*" in allowed
