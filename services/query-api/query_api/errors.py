"""One shape for everything that goes wrong: {"error": {"code", "message", "hint"}}."""

import difflib
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dataforge.errors import Transient
from dataforge.kpi.catalogue import Unanswerable

from query_api.schemas import Problem

logger = logging.getLogger(__name__)

_NOT_FOUND = {"unknown_domain", "unknown_event", "unknown_metric", "unknown_query"}


class ApiError(Exception):
    def __init__(
        self, status: int, code: str, message: str, hint: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.headers = headers

    def answer(self) -> JSONResponse:
        body = {"error": {"code": self.code, "message": self.message, "hint": self.hint}}
        return JSONResponse(body, self.status, self.headers)


def documented(*examples: tuple[int, str, str, str]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for these (status, code, message, hint)."""
    found: dict[int | str, dict[str, Any]] = {}
    for status, code, message, hint in examples:
        entry = found.setdefault(status, {"model": Problem, "description": message, "content": {}})
        shown = entry["content"].setdefault("application/json", {"examples": {}})["examples"]
        shown[code] = {"value": {"error": {"code": code, "message": message, "hint": hint}}}
    return found


async def known_parameters(request: Request) -> None:
    """A dependency: a parameter the path does not have is an error, lest a slip of the pen change the question."""
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known) or 'none'}"
            raise ApiError(422, "bad_parameter", f"there is no parameter {name!r}", hint)


def install(app: FastAPI) -> None:
    """Make every error of the app one of ours."""

    async def api_error(_: Request, error: ApiError) -> JSONResponse:
        return error.answer()

    async def unanswerable(_: Request, error: Unanswerable) -> JSONResponse:
        status = 404 if error.code in _NOT_FOUND else 422
        return ApiError(status, error.code, error.message, error.hint).answer()

    async def bad_parameter(_: Request, error: RequestValidationError) -> JSONResponse:
        told = "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors())
        return ApiError(422, "bad_parameter", told, "openapi.json says what each parameter may be").answer()

    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "unknown_path", 405: "bad_method"}.get(error.status_code, "http_error")
        message = f"{request.method} {request.url.path}: {error.detail}"
        headers = dict(error.headers) if error.headers else None
        return ApiError(error.status_code, code, message, "openapi.json lists what there is", headers).answer()

    async def away(_: Request, error: Exception) -> JSONResponse:
        logger.warning("%s", error)
        hint = "try again; /readyz on the admin port says when it is back"
        return ApiError(503, "unavailable", "the state store does not answer", hint, {"Retry-After": "1"}).answer()

    async def internal(_: Request, error: Exception) -> JSONResponse:
        logger.error("a request failed", exc_info=error)
        return ApiError(500, "internal", "this should not have happened", "the service's log says what did").answer()

    handlers: dict[type[Exception], Any] = {
        ApiError: api_error,
        Unanswerable: unanswerable,
        RequestValidationError: bad_parameter,
        HTTPException: http_error,
        Transient: away,
        Exception: internal,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
