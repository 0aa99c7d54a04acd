"""Warm engines that turn cases into frames. The console, folders and signals are the business of others."""

import threading
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from sa.runtime.case.case import Case
from sa.runtime.engine_set.open import EngineSet, EngineSource
from sa.runtime.engine_set.warm import WarmEngines
from sa.runtime.errors import InputError
from sa.runtime.events import Listener, safely
from sa.runtime.pipeline.cancel import CancelToken
from sa.runtime.pipeline.quality import DEFAULT, quality_settings
from sa.runtime.pipeline.run import Result, Run
from sa.runtime.pipeline.settings import Settings


class Pipeline:
    """An engine set that stays loaded, and runs one case after another on it. Use it as a context manager.

    Several threads may call it: they take turns. Two pipelines share nothing.
    """

    def __init__(self, engines: EngineSource, keep: bool | None = None):
        """`keep`: engines stay loaded between runs. None: they do if the memory that is free now holds them all."""
        self.engines = engines
        self._warm = WarmEngines(engines, keep)
        self._turn = threading.Lock()

    @classmethod
    def open(
        cls,
        engines: Path | str,
        *,
        device: str | None = None,
        threads: int | None = None,
        low_memory: bool = False,
        verify: bool = False,
        digest: str | None = None,
        keep: bool | None = None,
    ) -> "Pipeline":
        """The engine set in a folder; EngineSetError says what is wrong with it.

        `device`: "cpu" or "cuda", None: where the set was exported for. `threads` None: every core this process may
        use. `low_memory`: an engine is loaded only while it works. `verify` hashes every file anew. `digest`: the
        manifest's SHA-256, if it is known.
        """
        opened = EngineSet.open(
            Path(engines), device=device, threads=threads, low_memory=low_memory, verify=verify, digest=digest
        )
        return cls(opened, keep)

    @property
    def loads(self) -> int:
        """Engines that were loaded so far."""
        return self._warm.loads

    def prepare(
        self,
        case: Case,
        settings: Settings | None = None,
        *,
        on_event: Listener | None = None,
        cancel: CancelToken | None = None,
        **changes: Any,
    ) -> Run:
        """A run that was checked and not begun: its inputs are sound, and it fits into memory.

        `changes` are fields of `settings`; a `quality` among them brings settings of its own. InputError for a case or
        setting that cannot be used, EngineSetError for engines that cannot do it.
        """
        if settings is not None and "quality" in changes:
            raise InputError("a quality brings settings of its own: give settings or a quality, not both.")
        if settings is None:
            settings = quality_settings(changes.get("quality", DEFAULT))
        chosen = replace(settings, **changes)
        return Run(self._warm.run((cancel or CancelToken()).check), case, chosen, safely(on_event), self._turn)

    def __call__(
        self,
        case: Case,
        settings: Settings | None = None,
        *,
        on_event: Listener | None = None,
        cancel: CancelToken | None = None,
        **changes: Any,
    ) -> Result:
        """Animate a case. The result's frames are decoded when they are asked for.

        `on_event` is told what happens. `cancel` ends the run from any thread, within one call of an engine, with
        CancelledError. Other errors as `prepare`.
        """
        return self.prepare(case, settings, on_event=on_event, cancel=cancel, **changes).start()

    def close(self) -> None:
        """Free the engines."""
        self._warm.close()

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
