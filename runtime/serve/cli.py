"""sa-serve: jobs over HTTP, and a page to try them."""

import argparse
import ipaddress
import re
from pathlib import Path

from sa.runtime.console.commands import run_command
from sa.runtime.console.progress import Reporter
from sa.runtime.errors import InputError, import_failed
from sa.runtime.serve.config import MIB, Config, EngineFolder, Limits

DESCRIPTION = """\
Serve engine sets over HTTP: jobs that survive the server, events to follow them, and a page to try it.

Open the address in a browser, or send jobs to POST /v1/videos. The API describes itself at /openapi.json.
"""

EPILOG = """\
--data keeps the jobs (jobs.sqlite) and their files. A job that was accepted goes on after any restart.
By default the server answers this machine alone. Another --host needs --token, or --no-auth if something else asks for
a password in front of it.

examples:
  sa-serve --engines engines/ --data serve/ --models models/
  sa-serve --engines square/ --engines portrait/ --data serve/ --device cuda:0 --device cuda:1
  sa-serve --engines engines/ --data /var/lib/sa --host 0.0.0.0 --token /etc/sa/token --name video.example.com

exit codes: 0 ended by a signal, 2 a flag cannot be used, 3 an engine set is missing or does not fit, 1 anything else
"""

TOKEN_LEAST, TOKEN_MOST = 16, 4096  # characters


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "sa-serve", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    limits = Limits()
    files = parser.add_argument_group("files")
    files.add_argument(
        "--engines",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help="engine set written by sa-export; may be repeated, the first one is the default",
    )
    files.add_argument("--data", type=Path, required=True, metavar="DIR", help="where jobs and results are kept")
    files.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="the networks of sa-prepare, to make cases of a photo and a video; needs the extra 'prepare'",
    )
    files.add_argument(
        "--keep", type=float, default=7.0, metavar="DAYS", help="how long ended jobs are kept (default: 7)"
    )
    access = parser.add_argument_group("who may ask")
    access.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    access.add_argument("--port", type=int, default=8000, help="0: any that is free (default: 8000)")
    access.add_argument("--token", type=Path, metavar="FILE", help="its first line is the token that requests need")
    access.add_argument("--no-auth", action="store_true", help="answer everybody who reaches the address")
    access.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="a host name that the server is known by, beside its address and localhost; may be repeated",
    )
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--device",
        action="append",
        metavar="cpu|cuda|cuda:N",
        help="where the engines run; one worker each, may be repeated (default: one, where they were exported for)",
    )
    machine.add_argument("--threads", type=int, help="CPU threads of a worker (default: all this process may use)")
    bounds = parser.add_argument_group("limits", "what is beyond them is refused before it is read or decoded")
    bounds.add_argument(
        "--max-upload", type=int, default=limits.upload // MIB, metavar="MIB", help="of a request (default: 512)"
    )
    bounds.add_argument(
        "--max-pixels", type=int, default=limits.pixels, metavar="N", help=f"of a photo (default: {limits.pixels:,})"
    )
    bounds.add_argument(
        "--max-frames", type=int, default=limits.frames, metavar="N", help=f"of a video (default: {limits.frames})"
    )
    bounds.add_argument(
        "--max-seconds",
        type=float,
        default=limits.seconds,
        metavar="S",
        help=f"of a video (default: {limits.seconds:g})",
    )
    bounds.add_argument(
        "--max-queue", type=int, default=limits.queue, metavar="N", help="unfinished jobs (default: 100)"
    )
    bounds.add_argument(
        "--max-posts",
        type=int,
        default=limits.posts,
        metavar="N",
        help="uploads a minute from one address (default: 60)",
    )
    bounds.add_argument(
        "--upload-seconds",
        type=float,
        default=limits.upload_seconds,
        metavar="S",
        help=f"for one upload (default: {limits.upload_seconds:g})",
    )
    bounds.add_argument(
        "--idle-seconds",
        type=float,
        default=limits.idle_seconds,
        metavar="S",
        help=f"without a byte of an upload (default: {limits.idle_seconds:g})",
    )
    bounds.add_argument(
        "--min-free",
        type=int,
        default=limits.free // MIB,
        metavar="MIB",
        help="free disk space below which the queue pauses (default: 1024)",
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")
    return parser


def config_from(arguments: argparse.Namespace) -> Config:
    """The configuration; InputError names the first flag that cannot be used."""
    a = arguments
    ranges = {
        "--port": (a.port, 0, 65535),
        "--keep": (a.keep, 0.01, 3650),
        "--threads": (a.threads, 1, 1024),
        "--max-upload": (a.max_upload, 1, 1 << 20),
        "--max-pixels": (a.max_pixels, 1 << 12, 1 << 28),
        "--max-frames": (a.max_frames, 2, 1_000_000),
        "--max-seconds": (a.max_seconds, 1, 86400),
        "--max-queue": (a.max_queue, 1, 1_000_000),
        "--max-posts": (a.max_posts, 1, 1_000_000),
        "--upload-seconds": (a.upload_seconds, 1, 86400),
        "--idle-seconds": (a.idle_seconds, 0.1, 3600),
        "--min-free": (a.min_free, 0, 1 << 30),
    }
    for flag, (value, least, most) in ranges.items():
        if value is not None and not least <= value <= most:
            raise InputError(f"{flag} must be {least} to {most}, not {value}.")
    devices: tuple[str | None, ...] = tuple(a.device or [None])
    for device in devices:
        if device is not None and re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", device) is None:
            raise InputError(f"--device must be cpu, cuda, or cuda:N such as cuda:0, not {device}.")
    if len(set(devices)) != len(devices):
        raise InputError("--device names a device twice: give each one once, as each has one worker.")
    folders = [path.resolve() for path in a.engines]
    if len({path.name for path in folders}) != len(folders):
        raise InputError("--engines gives two folders of one name, by which requests choose: rename one of them.")
    if a.models is not None and not a.models.is_dir():
        raise InputError(f"{a.models} is not a folder: give --models the folder with the networks' ONNX files.")
    token = read_token(a.token) if a.token is not None else None
    if token is not None and a.no_auth:
        raise InputError("--no-auth answers everybody, --token nobody without it: give one of them.")
    if token is None and not a.no_auth and not _is_loopback(a.host):
        raise InputError(
            f"--host {a.host} may be reached by others: give --token FILE, or --no-auth to answer everybody."
        )
    limits = Limits(
        upload=a.max_upload * MIB,
        upload_seconds=a.upload_seconds,
        idle_seconds=a.idle_seconds,
        pixels=a.max_pixels,
        frames=a.max_frames,
        seconds=a.max_seconds,
        queue=a.max_queue,
        posts=a.max_posts,
        free=a.min_free * MIB,
    )
    return Config(
        engines=tuple(EngineFolder(path.name, path) for path in folders),
        data=a.data.resolve(),
        models=a.models.resolve() if a.models is not None else None,
        host=a.host,
        port=a.port,
        devices=devices,
        threads=a.threads,
        token=token,
        names=tuple(a.name),
        keep_days=a.keep,
        limits=limits,
    )


def read_token(path: Path) -> str:
    """The file's first line; InputError if it is no token."""
    try:
        with path.open("rb") as file:
            line = file.read(TOKEN_MOST + 2).split(b"\n")[0].strip()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give --token a file with a token.") from None
    if not TOKEN_LEAST <= len(line) <= TOKEN_MOST or re.fullmatch(rb"[!-~]+", line) is None:
        raise InputError(
            f"{path}: its first line must be a token of {TOKEN_LEAST} to {TOKEN_MOST} letters, digits and signs; make "
            "one with `python -c 'import secrets; print(secrets.token_urlsafe())'`."
        )
    return line.decode()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def run(arguments: argparse.Namespace) -> None:
    config = config_from(arguments)
    try:
        from sa.runtime.serve.server import Server
    except ImportError as error:
        raise import_failed("sa-serve", error, "serve") from None
    reporter = Reporter(arguments.quiet)
    with reporter.stage("checking engine sets"):
        server = Server(config)
    reporter.say(f"serving {', '.join(one.name for one in config.engines)} at {server.address}; Ctrl-C ends it")
    server.run()


def main(argv: list[str] | None = None) -> int:
    return run_command("sa-serve", parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
