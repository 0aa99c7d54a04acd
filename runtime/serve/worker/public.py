"""What a client is told: the sentences of sa-prepare and sa-run, without the server's places and commands' flags."""

from collections.abc import Iterable

from sa.runtime.console.flags import renamed
from sa.runtime.prepare.options import PrepareOptions
from sa.runtime.serve.settings import Refinement, VideoSettings


def _flags(fields: Iterable[str], prefix: str = "") -> dict[str, str]:
    return {f"--{name.replace('_', '-')}": f"{prefix}{name}" for name in fields}


# A request's settings and files by the commands' flags; --fps is said while a case is prepared.
SETTINGS = {
    **_flags(VideoSettings.model_fields),
    **_flags(PrepareOptions.model_fields, "prepare."),
    **{f"--refine-{name}": f"refine.{name}" for name in Refinement.model_fields},
    "--refine-iters": "refine.iterations",
    **_flags(("reference", "driving", "keypoints")),
}


class Public:
    """Turns a sentence into one for clients."""

    def __init__(self, names: dict[str, str]):
        """names: what to say instead, by the server's path."""
        self._names = sorted(names.items(), key=lambda one: -len(one[0]))

    def __call__(self, text: str) -> str:
        for path, name in self._names:
            text = text.replace(path, name)
        return renamed(text, SETTINGS)
