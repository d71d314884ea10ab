"""One answer for everyone who asks the same at about the same time. Plain ASGI.

A dashboard is open on many screens, and each asks again every second: what is behind an answer is read and merged
once for all of them.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Question = tuple[str, bytes, tuple[bytes, ...]]
"""(path, query, credentials)"""


@dataclass(slots=True)
class _Answer:
    began_s: float
    route: object = None
    messages: list[Message] = field(default_factory=list[Message])
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def whole(self) -> bool:
        """Not where making it failed, or was cancelled."""
        return bool(self.messages) and self.messages[-1]["type"] == "http.response.body"

    @property
    def good(self) -> bool:
        return self.whole and self.messages[0]["status"] == 200


class Shared:
    """*Guarantees*: what is shared was begun at most `fresh_s` before it was asked for, by the same credentials.
    Whoever waits for an answer gets it whatever it says; later ones share only a 200. Nobody waits for another's
    connection.
    """

    def __init__(self, app: ASGIApp, *, paths: Collection[str], fresh_s: float) -> None:
        """Only `GET`s of these paths are shared; an answer to them must be one message."""
        self._app, self._paths, self._fresh_s = app, frozenset(paths), fresh_s
        self._answers: dict[Question, _Answer] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        question = self._question(scope)
        if question is None:
            await self._app(scope, receive, send)
            return
        answer = await self._found(question) or await self._made(question, scope, receive)
        scope["route"] = answer.route
        for message in answer.messages:
            await send(_copy(message))

    def _question(self, scope: Scope) -> Question | None:
        """None where the answer is for this one alone."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in self._paths:
            return None
        names = [name for name, _ in scope["headers"]]
        if b"upgrade" in names:
            return None
        credentials = tuple(value for name, value in scope["headers"] if name == b"authorization")
        return scope["path"], scope["query_string"], credentials

    async def _found(self, question: Question) -> _Answer | None:
        answer = self._answers.get(question)
        if answer is None or _now_s() >= answer.began_s + self._fresh_s:
            return None
        if answer.ended.is_set():
            return answer if answer.good else None
        await answer.ended.wait()
        return answer if answer.whole else None

    async def _made(self, question: Question, scope: Scope, receive: Receive) -> _Answer:
        """*Raises* what the app does."""
        answer = self._answers[question] = _Answer(_now_s())

        async def record(message: Message) -> None:
            answer.messages.append(message)

        try:
            await self._app(scope, receive, record)
        finally:
            answer.route = scope.get("route")
            answer.ended.set()
            asyncio.get_running_loop().call_at(answer.began_s + self._fresh_s, self._forget, question, answer)
        return answer

    def _forget(self, question: Question, answer: _Answer) -> None:
        if self._answers.get(question) is answer:
            del self._answers[question]


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _copy(message: Message) -> Message:
    """Whoever it goes through adds headers of one client's to it, in place."""
    return {**message, "headers": [*message["headers"]]} if "headers" in message else message
