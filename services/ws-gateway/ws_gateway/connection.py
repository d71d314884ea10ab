"""One client: authentication, then a conversation about its subscriptions."""

import hmac
import time
from collections.abc import Callable
from typing import NamedTuple

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from dataforge.kpi.catalogue import Catalogue, Unanswerable
from dataforge.kpi.instants import instant
from dataforge.runtime import metrics

from ws_gateway import protocol
from ws_gateway.hub import Hub
from ws_gateway.ledgers import Ledgers
from ws_gateway.outbox import Outbox
from ws_gateway.protocol import CloseCode, ProtocolError
from ws_gateway.settings import Limits
from ws_gateway.subscription import Shown, Subscription


class _Watched(NamedTuple):
    channel: Shown
    subscription: Subscription
    leave: Callable[[], None]


class Connection(WSListener):
    """What a client says, answered. *Guarantees*: no channel is watched before the token was right."""

    def __init__(
        self,
        hub: Hub,
        ledgers: Ledgers,
        catalogue: Catalogue,
        limits: Limits,
        everyone: set["Connection"],
        token: str | None,
        refusal: ProtocolError | None = None,
    ) -> None:
        """`everyone` holds it while it is connected. With `token` None the client is authenticated already.
        A `refusal` is told, and closes.
        """
        self._everyone = everyone
        self._hub = hub
        self._ledgers = ledgers
        self._catalogue = catalogue
        self._limits = limits
        self._token = token
        self._refusal = refusal
        self._ready = False
        self._watched: dict[str | int, _Watched] = {}
        self._fragments = bytearray()
        self._second, self._in_second = 0, 0
        self._opened_s = self._heard_s = time.monotonic()
        self._pinged = False
        self.out: Outbox

    # ---- picows
    def on_ws_connected(self, transport: WSTransport) -> None:
        self.out = Outbox(transport, self._limits)
        self._everyone.add(self)
        metrics.WS_CLIENTS.inc()
        if self._refusal is not None:
            self.out.fail(self._refusal)
        elif self._token is None:
            self._welcome()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._everyone.discard(self)
        self.out.closing = True
        for watched in self._watched.values():
            watched.leave()
        metrics.WS_SUBSCRIPTIONS.dec(len(self._watched))
        self._watched.clear()
        metrics.WS_CLIENTS.dec()

    def pause_writing(self) -> None:
        self.out.paused()

    def resume_writing(self) -> None:
        self.out.resumed()
        for channel, subscription, _ in self._watched.values():
            subscription.catch_up(channel)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._heard_s, self._pinged = time.monotonic(), False
        if frame.msg_type is WSMsgType.CLOSE:
            self.out.closed_by_client()
        elif not self.out.closing:
            try:
                self._frame(frame)
            except ProtocolError as error:
                self.out.fail(error)

    # ---- the clock
    def tick(self, now_s: float) -> None:
        """Close who is too late or too slow. Called about once a second."""
        limits, out = self._limits, self.out
        if out.closing:
            return
        if not self._ready and now_s - self._opened_s > limits.auth_s:
            out.close(CloseCode.TIMEOUT, "no auth in time")
        elif out.slow_since_s is not None and now_s - out.slow_since_s > limits.slow_s:
            out.close(CloseCode.TOO_MUCH, "too slow: frames are not read")
        elif now_s - self._heard_s > 2 * limits.ping_after_s:
            out.close(CloseCode.TIMEOUT, "no answer to ping")
        elif not self._pinged and now_s - self._heard_s > limits.ping_after_s:
            self._pinged = True
            out.ping()

    # ---- messages
    def _frame(self, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.BINARY:
            raise ProtocolError("bad_message", "binary frame", "send JSON as text", close=CloseCode.BAD_REQUEST)
        if frame.msg_type is WSMsgType.PONG:
            return
        self._fragments += frame.get_payload_as_memoryview()
        if len(self._fragments) > self._limits.message_bytes:
            text = f"a message may have {self._limits.message_bytes} bytes"
            raise ProtocolError("too_large", text, "send less at a time", close=CloseCode.BAD_REQUEST)
        if frame.fin:
            payload = bytes(self._fragments)
            self._fragments.clear()
            self._count()
            self._answer(protocol.parse(payload))

    def _count(self) -> None:
        if (second := int(self._heard_s)) != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        if self._in_second > self._limits.messages_per_s:
            text = f"more than {self._limits.messages_per_s} messages in a second"
            raise ProtocolError("too_many_messages", text, "slow down", close=CloseCode.TOO_MUCH)

    def _answer(self, message: protocol.ClientMessage) -> None:
        if not self._ready:
            self._authenticate(message)
            return
        match message:
            case protocol.Subscribe() | protocol.SubscribeLedger():
                try:
                    self._room_for(message.id)
                    self._subscribe(message) if isinstance(message, protocol.Subscribe) else self._ledger(message)
                except ProtocolError as error:
                    error.id = message.id
                    raise
                except Unanswerable as error:
                    raise ProtocolError(error.code, error.message, error.hint, id=message.id) from None
            case protocol.Unsubscribe():
                self._unsubscribe(message)
            case protocol.Ping():
                self.out.reply(protocol.Pong(message.id, instant(int(time.time() * 1000))))
            case protocol.Auth():
                text = "this connection is authenticated already"
                raise ProtocolError("conflict", text, "open another connection", close=CloseCode.CONFLICT)

    def _authenticate(self, message: protocol.ClientMessage) -> None:
        if not isinstance(message, protocol.Auth):
            hint = 'send {"type":"auth","token":"…"} first, or offer the subprotocol dataforge.token.<token>'
            raise ProtocolError("unauthorized", "the first message is not auth", hint, close=CloseCode.UNAUTHORIZED)
        if self._token is None or not same_token(message.token, self._token):
            hint = "it is DATAFORGE_API_TOKEN of the platform"
            raise ProtocolError("unauthorized", "this token is not valid", hint, close=CloseCode.UNAUTHORIZED)
        self._welcome()

    def _welcome(self) -> None:
        self._ready = True
        limits = self._limits
        self.out.reply(protocol.Ready(protocol.NAME, int(limits.heartbeat_s * 1000), limits.subscriptions))

    def _room_for(self, id: str | int) -> None:
        if id in self._watched:
            raise ProtocolError("conflict", f"there is a subscription {id!r}", "choose another id")
        if len(self._watched) >= self._limits.subscriptions:
            text = f"a connection may have {self._limits.subscriptions} subscriptions"
            raise ProtocolError("too_many_subscriptions", text, "unsubscribe from some, or open another connection")

    def _subscribe(self, message: protocol.Subscribe) -> None:
        since = None if message.since is None else protocol.since_of(message.since)
        selection = self._catalogue.select(
            domain=message.domain,
            event=message.event,
            metric=message.metric,
            window=message.window,
            by=message.by,
            where={name: [one] if isinstance(one, str) else one for name, one in message.where.items()},
        )
        limits = self._limits
        usual, most = (1, limits.rolling_windows) if selection.rolling else (limits.default_windows, limits.windows)
        limit = _limit(message.limit, usual, most)
        subscription = Subscription(self.out)
        channel = self._hub.watch(selection, limit, subscription, since)
        self._watch(message.id, channel, subscription, lambda: self._hub.leave(channel, subscription))
        self.out.reply(protocol.subscribed(message.id, channel.number, selection, limit))

    def _ledger(self, message: protocol.SubscribeLedger) -> None:
        domain = self._catalogue.domain(message.domain)
        limit = _limit(message.limit, self._limits.default_windows, self._limits.windows)
        subscription = Subscription(self.out)
        channel = self._ledgers.watch(domain, limit, subscription)
        self._watch(message.id, channel, subscription, lambda: self._ledgers.leave(channel, subscription))
        self.out.reply(protocol.SubscribedLedger(message.id, channel.number, domain.name, limit))

    def _watch(self, id: str | int, channel: Shown, subscription: Subscription, leave: Callable[[], None]) -> None:
        for other, watched in self._watched.items():
            if watched.channel is channel:
                leave()
                raise ProtocolError("conflict", f"subscription {other!r} shows the same", "use that one")
        self._watched[id] = _Watched(channel, subscription, leave)
        metrics.WS_SUBSCRIPTIONS.inc()

    def _unsubscribe(self, message: protocol.Unsubscribe) -> None:
        if message.id not in self._watched:
            raise ProtocolError("unknown_subscription", f"there is no subscription {message.id!r}", "", id=message.id)
        self._watched.pop(message.id).leave()
        metrics.WS_SUBSCRIPTIONS.dec()
        self.out.reply(protocol.Unsubscribed(message.id))


def _limit(asked: int | None, usual: int, most: int) -> int:
    if asked is not None and not 1 <= asked <= most:
        raise ProtocolError("bad_limit", f"limit is {asked}", f"it may be 1 to {most} here")
    return asked or usual


def same_token(given: str, expected: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())
