"""The jobs of a batch: the case folders of a folder, or the lines of a list, which is not trusted."""

import argparse
import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from sa.runtime.batch.job import BATCH_FILE, Job
from sa.runtime.cli import add_settings, add_video, part_from, settings_from
from sa.runtime.contract import BareName
from sa.runtime.errors import InputError
from sa.runtime.system.regular_files import require_regular

LIST_BYTES, LINE_BYTES, MOST = 64 << 20, 64 << 10, 10_000
PATHS = ("identity", "noise")  # settings that name files, relative to the list's folder
TRUSTED = ("models",)  # networks that would be run: given on the command line alone
_NAME: TypeAdapter[str] = TypeAdapter(BareName)


def find_jobs(cases: Path, out: Path, arguments: argparse.Namespace) -> list[Job]:
    """The jobs in the order they are begun. `arguments`: sa-run's settings, for what a line does not say.

    InputError for a folder without cases, or for the first line of a list that cannot be used.
    """
    if cases.is_dir():
        folders = sorted((path for path in cases.glob("case-*") if path.is_dir()), key=_by_number)
        if not folders:
            raise InputError(f"{cases} holds no folder case-*: give --cases a folder of cases, or a list (.jsonl).")
        return [_job(path.name, path, out, arguments) for path in folders]
    jobs: dict[str, Job] = {}
    for number, line in enumerate(_lines(cases), 1):
        if not line.strip():
            continue
        try:
            job = _of_line(line, cases.parent, out, arguments)
            if job.name.casefold() in jobs:  # one folder, where a file system does not tell them apart
                raise InputError(f"the name {job.name!r} was given before: give every line a name of its own.")
        except InputError as error:
            raise InputError(f"{cases}, line {number}: {error}") from None
        jobs[job.name.casefold()] = job
    if not jobs:
        raise InputError(f'{cases} has no line: give a case in each, such as {{"case": "case-1"}}.')
    return list(jobs.values())


def _job(name: str, case: Path, out: Path, arguments: argparse.Namespace) -> Job:
    job = Job(
        name,
        case.absolute(),
        out.absolute() / name,
        settings_from(arguments),
        part_from(arguments.frames),
        not arguments.no_audio,
        not arguments.no_gif,
        arguments.force,
    )
    try:
        job.to_json()
    except ValueError:
        raise InputError(f"{str(case)!a} has a path that is not UTF-8: rename it, or what it is made from.") from None
    return job


def _by_number(path: Path) -> list[Any]:
    """case-2 comes before case-10."""
    return [int(word) if word.isdecimal() else word for word in re.split(r"(\d{1,18})", path.name)]


def _lines(path: Path) -> Iterator[str]:
    require_regular(path)
    try:
        size = path.stat().st_size
        if size > LIST_BYTES:
            raise InputError(f"{path} has {size:,} bytes, and a list may have {LIST_BYTES:,}: divide it.")
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): give --cases a folder of cases, or a list (.jsonl)."
        ) from None
    if len(lines) > MOST:
        raise InputError(f"{path} has {len(lines):,} lines, and a list may have {MOST:,}: divide it.")
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_BYTES:
            raise InputError(f"{path}, line {number}: it has {len(line):,} bytes and may have {LINE_BYTES:,}.")
        try:
            yield line.decode()
        except UnicodeDecodeError:
            raise InputError(f"{path}, line {number}: it is not UTF-8: write the list as UTF-8.") from None


def _of_line(line: str, home: Path, out: Path, arguments: argparse.Namespace) -> Job:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError('it is not JSON: write one object, such as {"case": "case-1", "steps": 15}.') from None
    case = given.pop("case", None) if isinstance(given, dict) else None
    if not isinstance(case, str) or not case or "\0" in case:
        raise InputError('it names no case: write one object, such as {"case": "case-1", "steps": 15}.')
    name = given.pop("name", Path(case).name)
    try:
        _NAME.validate_python(name, strict=True)
    except ValidationError:
        raise InputError(
            f"{str(name)[:100]!r} cannot name a folder of --out: give a name of at most 100 letters, digits, '.', '_' "
            "and '-' that begins with a letter or digit."
        ) from None
    if name == BATCH_FILE:
        raise InputError(f"{BATCH_FILE} is the report's own name: give another one.")
    for setting in PATHS:
        value = given.get(setting)
        if isinstance(value, str) and value != "none":
            given[setting] = str(home / value)
    return _job(name, home / case, out, _with_settings(arguments, given))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}.")


def _settings_parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    add_settings(parser, parser.add_argument_group("files"))
    add_video(parser.add_argument_group("output"))
    return parser


def _with_settings(arguments: argparse.Namespace, given: dict[str, Any]) -> argparse.Namespace:
    """The arguments with a line's settings in their place. They are sa-run's flags, read by sa-run's own parser."""
    parser, changed = _settings_parser(), copy.copy(arguments)
    known = {action.dest: action for action in parser._actions if action.dest not in TRUSTED}
    words: list[str] = []
    for name, value in given.items():
        action = known.get(name)
        if action is None:
            raise InputError(f"there is no setting {name[:40]!r}: choose {', '.join(sorted(known))}.")
        (flag,) = action.option_strings
        if action.nargs == 0:
            if not isinstance(value, bool):
                raise InputError(f"{name} must be true or false, not {str(value)[:40]!r}.")
            setattr(changed, name, value)
        elif isinstance(action.nargs, int):
            numbers = value if isinstance(value, list) else []
            if len(numbers) != action.nargs or not all(_is_number(number) for number in numbers):
                raise InputError(f"{name} must be {action.nargs} numbers, not {str(value)[:40]!r}.")
            words += [flag, *map(str, numbers)]
        elif isinstance(value, str) or _is_number(value):
            words.append(f"{flag}={value}")
        else:
            raise InputError(f"{name} must be a number or a text, not {str(value)[:40]!r}.")
    return parser.parse_args(words, namespace=changed)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
