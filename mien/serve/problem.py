"""Problems: every error of the server has one form, that of RFC 9457."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from mien.errors import MienError

MEDIA_TYPE = "application/problem+json"

# Why each is answered, as the API's description says it.
REASONS = {
    400: "The body is no multipart form, or has a field that is not known.",
    401: "The token is missing or another one.",
    403: "Another site's page asked.",
    404: "There is no such page.",
    405: "The path is there, the method is not.",
    408: "The body did not arrive in time.",
    413: "The body, the number of files, of pixels or of faces is larger than the server takes; `limit` says which.",
    415: "The body is of another media type than multipart/form-data.",
    421: "The server does not answer to this host name.",
    422: "No file could be read as a picture, or a parameter has another type.",
    429: "All places are taken; try again after `Retry-After` seconds.",
    500: "The server failed; its log has the request's id.",
    503: "The answer took too long, or the server is not ready.",
}

_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "limit": {"enum": ["bytes", "files", "pixels", "faces"]},
    },
    "additionalProperties": False,
    "example": {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "128 requests are under way. Try again in a second.",
        "request_id": "5f0c6a1e2b",
    },
}


class Problem(MienError):  # noqa: N818 - as RFC 9457 calls it
    """What a client is told when there is no answer.

    Attributes:
        status: HTTP's code.
        detail: A sentence with what was expected and found, and what to do.
        headers: That go with it.
        more: Further members of the problem, such as which limit.
    """

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.more = status, detail, dict(headers or {}), more


def problem_response(problem: Problem, request_id: str) -> Response:
    """Returns a problem as a response."""
    content = {
        "type": "about:blank",  # RFC 9457, 4.2.1: the status code says it all
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": request_id,
        **problem.more,
    }
    return Response(json.dumps(content), problem.status, problem.headers, media_type=MEDIA_TYPE)


def problem_of(error: Exception) -> Problem:
    """Returns what a client is told about an exception; of one that nobody foresaw, only that there was one."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        return Problem(error.status_code, REASONS.get(error.status_code, error.detail), headers=error.headers)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return Problem(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}.")
    return Problem(500, REASONS[500])


async def on_error(request: Request, error: Exception) -> Response:
    """Returns the response to an exception of any route."""
    return problem_response(problem_of(error), request.scope["request_id"])


def declared(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Returns what an API's description says about some status codes."""
    content = {MEDIA_TYPE: {"schema": _SCHEMA}}
    return {code: {"description": REASONS[code], "content": content} for code in codes}
