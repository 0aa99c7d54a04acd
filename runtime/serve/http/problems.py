"""Errors: one sentence, in one JSON shape, whatever went wrong."""

import errno
import logging
import sqlite3
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

_LOG = logging.getLogger(__name__)
FULL = "the server's disk is full: delete videos, or ask whoever runs the server."


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None = None


class ErrorBody(BaseModel):
    error: ErrorDetail


class ApiError(Exception):
    """Something to answer with instead of a result."""

    def __init__(
        self, status: int, type: str, message: str, param: str | None = None, headers: dict[str, str] | None = None
    ):
        super().__init__(message)
        self.status, self.type, self.message, self.param = status, type, message, param
        self.headers = headers


def problem_response(
    status: int, type: str, message: str, param: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    detail = {"message": message, "type": type, **({"param": param} if param is not None else {})}
    return JSONResponse({"error": detail}, status, headers)


def answers(*statuses: int) -> dict[int | str, dict]:
    """For the API's description: which statuses a route may answer with beside its result."""
    return {status: {"model": ErrorBody, "description": HTTPStatus(status).phrase} for status in statuses}


def handle_problems(app: FastAPI) -> None:
    """Give every error its shape."""

    @app.exception_handler(ApiError)
    def of_problem(request: Request, error: ApiError) -> JSONResponse:
        return problem_response(error.status, error.type, error.message, error.param, error.headers)

    @app.exception_handler(HTTPException)
    def of_http(request: Request, error: HTTPException) -> JSONResponse:
        path, headers = request.url.path, dict(error.headers or {})
        if error.status_code == 404:
            return problem_response(404, "not_found", f"there is nothing at {path[:200]}: see /openapi.json.")
        if error.status_code == 405:
            allowed = headers.get("Allow") or headers.get("allow") or "another method"
            message = f"{request.method[:20]} is not for {path[:200]}: use {allowed}."
            return problem_response(405, "method_not_allowed", message, headers=headers)
        return problem_response(error.status_code, "http_error", f"{error.detail}.", headers=headers)

    @app.exception_handler(RequestValidationError)
    def of_validation(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        wrong = first["msg"][:1].lower() + first["msg"][1:]
        return problem_response(422, "invalid_request", f"{where} cannot be used: {wrong}.", where)

    @app.exception_handler(sqlite3.OperationalError)
    def of_database(request: Request, error: sqlite3.OperationalError) -> JSONResponse:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            return problem_response(507, "disk_full", FULL)
        return of_anything(request, error)

    @app.exception_handler(OSError)
    def of_system(request: Request, error: OSError) -> JSONResponse:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return problem_response(507, "disk_full", FULL)
        return of_anything(request, error)

    @app.exception_handler(Exception)
    def of_anything(request: Request, error: Exception) -> JSONResponse:
        _LOG.error("%s %s", request.method, request.url.path, exc_info=error)
        return problem_response(500, "server_error", "something unforeseen went wrong: the server's log has it.")
