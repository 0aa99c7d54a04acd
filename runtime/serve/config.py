"""What a server is started with, and how much it takes from strangers."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sa.runtime.errors import InputError

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds, each checked before anything of that size is read, decoded or allocated."""

    upload: int = 512 * MIB  # bytes of one request
    upload_seconds: float = 900.0  # for one request's body
    idle_seconds: float = 20.0  # without a byte of it
    pixels: int = 16_000_000  # of a photo, or of a case's picture
    video_pixels: int = 4096 * 2304  # of a driving video's frame
    frames: int = 2000  # that are taken of a video, or poses of a case
    seconds: float = 600.0  # of a driving video
    check_seconds: float = 30.0  # for looking at one upload
    queue: int = 100  # jobs that are not finished
    posts: int = 60  # uploads a minute from one address
    streams: int = 100  # event streams at a time
    free: int = 1024 * MIB  # bytes that must be free on the disk, else the queue pauses

    @property
    def unpacked(self) -> int:
        """Bytes of an archive's members together."""
        return 4 * self.upload

    @property
    def members(self) -> int:
        """Entries of an archive: a pose and a mask per frame, and the single files."""
        return 2 * self.frames + 64


@dataclass(frozen=True)
class EngineFolder:
    name: str  # how requests call it: the folder's name
    folder: Path


@dataclass(frozen=True)
class Config:
    engines: tuple[EngineFolder, ...]  # the first one is the default
    data: Path
    models: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    devices: tuple[str | None, ...] = (None,)  # one worker each; None: where the set was exported for
    threads: int | None = None
    token: str | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()  # host names that requests may carry, beside addresses and localhost
    keep_days: float = 7.0
    limits: Limits = field(default_factory=Limits)

    def to_json(self) -> str:
        """For a worker, which needs no token."""
        values = asdict(self)
        del values["token"]
        return json.dumps(values, default=str)

    @classmethod
    def from_json(cls, text: str) -> "Config":
        values: Mapping[str, Any] = json.loads(text)
        return cls(
            **{
                **values,
                "engines": tuple(EngineFolder(one["name"], Path(one["folder"])) for one in values["engines"]),
                "data": Path(values["data"]),
                "models": Path(values["models"]) if values["models"] is not None else None,
                "devices": tuple(values["devices"]),
                "names": tuple(values["names"]),
                "limits": Limits(**values["limits"]),
            }
        )

    def folder_of(self, engines: str) -> Path:
        """The folder of the engine set that requests call so; InputError if the server was started without it."""
        for one in self.engines:
            if one.name == engines:
                return one.folder
        raise InputError(f"the server has no engine set {engines!r} any more: ask for another one.")
