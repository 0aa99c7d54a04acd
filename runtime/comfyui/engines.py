"""Engine sets that stay loaded as long as ComfyUI keeps the output of Load Engines."""

import weakref
from pathlib import Path

from sa.runtime.contract import MANIFEST
from sa.runtime.errors import EngineSetError
from sa.runtime.pipeline.pipeline import Pipeline
from sa.runtime.system.hashing import sha256
from sa.runtime.system.memory import release_freed

KEEPING: dict[str, bool | None] = {"while memory allows": None, "always": True, "never": False}
DEVICES: dict[str, str | None] = {"as exported": None, "cpu": "cpu", "cuda": "cuda"}


class Engines:
    """A pipeline that is closed when nothing refers to it any more: when ComfyUI drops it from its cache."""

    def __init__(self, pipeline: Pipeline):
        self.pipeline = pipeline
        weakref.finalize(self, _close, pipeline)


def _close(pipeline: Pipeline) -> None:
    pipeline.close()
    release_freed()


def engine_sets(root: Path) -> list[str]:
    """The names of the engine sets in a folder: links to folders count."""
    return sorted(path.parent.name for path in root.glob(f"*/{MANIFEST}"))


def engine_folder(root: Path, name: str) -> Path:
    """The folder of one of them; EngineSetError says where engine sets belong."""
    if name not in engine_sets(root):
        raise EngineSetError(
            f"there is no engine set {name!r} in {root}: put a folder made by sa-export there, or a link to it, and "
            "reload the page."
        )
    return root / name


def engines_fingerprint(root: Path, name: str) -> str:
    """Another one if the engine set is made anew; EngineSetError if it is not there."""
    return sha256(engine_folder(root, name) / MANIFEST)


def open_engines(root: Path, name: str, device: str, keep: str) -> Engines:
    """EngineSetError for engines that cannot be used. `device` is of DEVICES, `keep` of KEEPING."""
    for value, known, what in ((device, DEVICES, "device"), (keep, KEEPING, "keep_loaded")):
        if value not in known:
            raise EngineSetError(f"{what} cannot be {value!r}: choose {', '.join(known)}.")
    folder = engine_folder(root, name)
    return Engines(Pipeline.open(folder, device=DEVICES[device], keep=KEEPING[keep]))
