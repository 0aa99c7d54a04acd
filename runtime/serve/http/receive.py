"""Receives a multipart upload onto the disk, piece by piece, within bounds of size and time. Nothing is decoded.

File names are not read at all: a field's name decides where its bytes go.
"""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fastapi import Request
from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from sa.runtime.errors import first_fault
from sa.runtime.serve.config import MIB, Limits
from sa.runtime.serve.http.problems import ApiError
from sa.runtime.serve.service import Upload
from sa.runtime.serve.settings import VideoSettings
from sa.runtime.serve.store.folders import ARCHIVE, DRIVING, INPUT, KEYPOINTS, REFERENCE

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

PLACES = {"reference": REFERENCE, "driving": DRIVING, "keypoints": KEYPOINTS, "case": ARCHIVE}
MOST = {"reference": 64 * MIB, "keypoints": 64 * MIB}  # bytes; other files by the limit of the whole
SETTINGS = "settings"
SETTINGS_MOST = 64 * 1024  # bytes
HEADER_MOST = 4096  # bytes of a part's header line


async def receive_upload(request: Request, folder: Path, limits: Limits) -> Upload:
    """The request's files in `folder`, and its settings. ApiError for what is no upload or exceeds the limits."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ApiError(415, "unsupported_media_type", "send multipart/form-data with the fields of /openapi.json.")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > limits.upload:
        raise _too_large(limits)
    (folder / INPUT).mkdir()
    parts = _Parts(folder, limits)
    with contextlib.closing(parts):
        try:
            parser = MultipartParser(options[b"boundary"], parts.callbacks(), max_header_size=HEADER_MOST)
            received = 0
            async for piece in _pieces(request, limits):
                received += len(piece)
                if received > limits.upload:
                    raise _too_large(limits)
                await run_in_threadpool(parser.write, piece)
        except (FormParserError, UnicodeDecodeError):
            raise ApiError(400, "invalid_request", "the body is no multipart/form-data: it cannot be read.") from None
        except ClientDisconnect:
            raise ApiError(400, "invalid_request", "the body ended before its end.") from None
    return parts.upload()


async def _pieces(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """The body as it comes; ApiError if it comes too slowly."""
    stream = request.stream()
    deadline = time.monotonic() + limits.upload_seconds
    while True:
        left = min(limits.idle_seconds, deadline - time.monotonic())
        try:
            piece = await asyncio.wait_for(anext(stream), max(left, 0))
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise ApiError(
                408,
                "timeout",
                f"the body came too slowly: send something at least every {limits.idle_seconds:g} s, and all within "
                f"{limits.upload_seconds:g} s.",
                headers={"Connection": "close"},
            ) from None
        if piece:
            yield piece


class _Parts:
    """The parts of a body, each written as it comes."""

    def __init__(self, folder: Path, limits: Limits):
        self._folder, self._limits = folder, limits
        self._header, self._value = b"", b""
        self._name: str | None = None
        self._file: BinaryIO | None = None
        self._size = 0
        self._hash = hashlib.sha256()
        self._settings: bytes | None = None
        self._hashes: dict[str, str] = {}
        self._ended = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._grow("_header", data[start:end]),
            "on_header_value": lambda data, start, end: self._grow("_value", data[start:end]),
            "on_header_end": self._header_ended,
            "on_headers_finished": self._open,
            "on_part_data": self._write,
            "on_part_end": self._end,
            "on_end": self._all_ended,
        }

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def upload(self) -> Upload:
        """What came; ApiError if something is missing or too much."""
        if not self._ended:
            raise ApiError(400, "invalid_request", "the body ended before its last boundary: send all of it.")
        files = set(self._hashes)
        if "case" in files:
            if others := sorted(files - {"case"}):
                raise _invalid(others[0], f"a case has all that is needed: leave {others[0]} out, or the case.")
        elif missing := sorted({"reference", "driving"} - files, reverse=True):
            raise _invalid(missing[0], f"{missing[0]} is missing: send reference and driving, or a case.")
        try:
            settings = VideoSettings.model_validate_json(self._settings or b"{}", strict=True)
        except ValidationError as error:
            fault = "they are no JSON" if error.errors()[0]["type"] == "json_invalid" else first_fault(error)
            raise _invalid(SETTINGS, f"settings cannot be used: {fault}.") from None
        return Upload(self._folder, settings, self._hashes)

    def _grow(self, name: str, more: bytes) -> None:
        setattr(self, name, getattr(self, name) + more)

    def _begin(self) -> None:
        self._header, self._value, self._name = b"", b"", None

    def _header_ended(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode("utf-8")
        self._header, self._value = b"", b""

    def _open(self) -> None:
        name = self._name
        if name == SETTINGS:
            if self._settings is not None:
                raise _invalid(SETTINGS, "settings came twice: send them once.")
            self._settings = b""
            return
        if name not in PLACES:
            shown = (name or "")[:40]
            known = ", ".join((*PLACES, SETTINGS))
            raise _invalid(shown, f"there is no field {shown!r}: send {known}.")
        if name in self._hashes:
            raise _invalid(name, f"{name} came twice: send one.")
        self._file, self._size, self._hash = (self._folder / PLACES[name]).open("xb"), 0, hashlib.sha256()

    def _write(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._file is None:
            self._settings = (self._settings or b"") + piece
            if len(self._settings) > SETTINGS_MOST:
                raise _invalid(SETTINGS, f"settings have more than {SETTINGS_MOST} bytes: send less.", 413)
            return
        assert self._name is not None
        self._size += len(piece)
        most = MOST.get(self._name, self._limits.upload)
        if self._size > most:
            raise _invalid(self._name, f"{self._name} has more than {most >> 20} MiB: send a smaller file.", 413)
        self._hash.update(piece)
        self._file.write(piece)

    def _end(self) -> None:
        if self._file is None:
            return
        assert self._name is not None
        self.close()
        self._hashes[self._name] = self._hash.hexdigest()
        if self._size == 0:
            raise _invalid(self._name, f"{self._name} is empty: send a file.")

    def _all_ended(self) -> None:
        self._ended = True


def _invalid(field: str, message: str, status: int = 422) -> ApiError:
    return ApiError(status, "invalid_request" if status == 422 else "too_large", message, field)


def _too_large(limits: Limits) -> ApiError:
    return ApiError(413, "too_large", f"the upload has more than {limits.upload >> 20} MiB: send less.")
