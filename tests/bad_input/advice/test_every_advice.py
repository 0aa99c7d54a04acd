"""Every message of sa-prepare, and of sa-run on a case, that advises something has a row in a table of this folder."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import test_advice_case
import test_advice_files
import test_advice_keypoints
import test_advice_output
import test_advice_people

ROOT = Path(__file__).parents[3]
SOURCES = [*ROOT.glob("runtime/prepare/**/*.py"), *ROOT.glob("runtime/case/*.py"), ROOT / "runtime/refinement/faces.py"]
ADVISES = re.compile(
    r"[:;,] (or |and )?(give|choose|take|put|keep|make|use|leave|add|rename|remove|convert|install|wait|cut|run|"
    r"number|draw|invert|crop|fill|save|get|write|name|mark|replace)\b"
)
AROUND = 12  # letters beside these words, by which a message is known
TABLES = (test_advice_case, test_advice_files, test_advice_keypoints, test_advice_output, test_advice_people)
ELSEWHERE = (
    "give --check-models the folder with the networks' ONNX files",  # test_advice_files
    "the face encoder knows glintr100's embeddings alone: put glintr100.onnx",  # test_recognisers
    "by their times; choose another rate with --fps",  # test_prepare_motion, as the next
    ": take one scene with --frames ",
    "or they stand for long; take a part by its seconds",  # test_video_times
    " poses: give one mask per pose.",  # test_advice_case, as the next
    " is missing: give one face mask per pose.",
)


def texts(node: ast.AST) -> Iterator[str]:
    """The strings of a file, with {} for what is filled in; neither docstrings nor the help on flags."""
    if isinstance(node, ast.JoinedStr | ast.Constant):
        yield "".join(parts(node))
    elif not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.keyword) or child.arg not in ("help", "description"):
                yield from texts(child)


def parts(node: ast.AST) -> list[str]:
    if isinstance(node, ast.JoinedStr):
        return [part for value in node.values for part in parts(value)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else ["{}"]


def advice(text: str) -> list[str]:
    """The words around each of the things that a text advises, up to what is filled in."""
    return [
        literal[max(found.start() - AROUND, 0) : found.end() + AROUND]
        for literal in text.split("{}")
        for found in ADVISES.finditer(literal)
    ]


def test_all_advice_has_a_row():
    said = [row.said for table in TABLES for row in table.ROWS] + list(ELSEWHERE)
    missing = [
        f"{file.relative_to(ROOT)}: {text}"
        for file in SOURCES
        for text in texts(ast.parse(file.read_text()))
        if "\n" not in text
        and (words := advice(text))
        and not any(one in text or any(word in one for word in words) for one in said)
    ]
    assert not missing, "\n".join(missing)
