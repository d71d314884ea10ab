"""One answer for everyone who asks the same at about the same time. Plain ASGI.

A dashboard is open on many screens, and each asks again every second: what is behind an answer is read and merged
once for all of them.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Question = tuple[str, bytes, bytes]
"""(path, query, credentials)"""


@dataclass(slots=True)
class _Answer:
    began_s: float
    route: object = None
    messages: list[Message] = field(default_factory=list[Message])
    whole: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def good(self) -> bool:
        return bool(self.messages) and self.messages[0]["status"] == 200 and not self.messages[-1].get("more_body")


class Shared:
    """*Guarantees*: what is shared was begun at most `fresh_s` before it was asked for, by the same credentials, and is
    a 200; memory holds an answer for no longer than it is shared.
    """

    def __init__(self, app: ASGIApp, *, paths: Collection[str], fresh_s: float) -> None:
        """Only `GET`s of these paths are shared."""
        self._app, self._paths, self._fresh_s = app, frozenset(paths), fresh_s
        self._answers: dict[Question, _Answer] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        question = self._question(scope)
        if question is None:
            await self._app(scope, receive, send)
            return
        now_s = asyncio.get_running_loop().time()
        answer = self._answers.get(question)
        if answer is not None and now_s < answer.began_s + self._fresh_s:
            await answer.whole.wait()
            if answer.good:
                scope["route"] = answer.route
                for message in answer.messages:
                    await send(_copy(message))
                return
        await self._make(question, now_s, scope, receive, send)

    def _question(self, scope: Scope) -> Question | None:
        """None where the answer is for this one alone."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in self._paths:
            return None
        headers = dict[bytes, bytes](scope["headers"])
        if b"upgrade" in headers:
            return None
        return scope["path"], scope["query_string"], headers.get(b"authorization", b"")

    async def _make(self, question: Question, now_s: float, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._answers[question] = _Answer(now_s)

        async def sent(message: Message) -> None:
            answer.messages.append(_copy(message))
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            answer.route = scope.get("route")
            answer.whole.set()
            asyncio.get_running_loop().call_at(now_s + self._fresh_s, self._forget, question, answer)

    def _forget(self, question: Question, answer: _Answer) -> None:
        if self._answers.get(question) is answer:
            del self._answers[question]


def _copy(message: Message) -> Message:
    """Whoever it goes through adds headers of one client's to it, in place."""
    return {**message, "headers": [*message["headers"]]} if "headers" in message else message
