"""One run: from a case to latents on the page below, and from these to frames."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path

import numpy as np

from sa.runtime import PROJECT
from sa.runtime.backends import engine_class
from sa.runtime.backends.base import Engine
from sa.runtime.case.case import Case, check_case
from sa.runtime.case.identity import find_identity
from sa.runtime.case.images import frames_to_bytes
from sa.runtime.case.notes import without_padding
from sa.runtime.engine_set.open import require_refinement, require_shallow_unet
from sa.runtime.engine_set.warm import RunEngines
from sa.runtime.events import (
    FrameDecoded,
    Listener,
    Message,
    PoseEncoded,
    RefinementIteration,
    StepDone,
    TileDone,
)
from sa.runtime.pipeline.account import Account
from sa.runtime.pipeline.checks import device_warnings, embedder, guides, planned_memory
from sa.runtime.pipeline.report import run_report
from sa.runtime.pipeline.resume import State, load_state, save_state
from sa.runtime.pipeline.settings import Settings
from sa.runtime.refinement.choices import settled
from sa.runtime.refinement.faces import case_targets
from sa.runtime.refinement.hjb import RefinedStep
from sa.runtime.refinement.session import Refinement
from sa.runtime.refinement.window import Places, find_places
from sa.runtime.sampling.conditioning import make_conditioning
from sa.runtime.sampling.denoiser import TiledDenoiser, guidance_scales
from sa.runtime.sampling.noise import make_noise
from sa.runtime.sampling.preview import LatentColours
from sa.runtime.sampling.sampler import Denoiser, initial_latents, sample_euler
from sa.runtime.sampling.schedule import make_sigmas
from sa.runtime.sampling.tiles import settled_overlap, tile_indices

FPS = 8.0  # of a video whose case knows no rate
# Settings that a kept state need not agree on: a name, the rate of the written video, and files whose content counts.
NOT_IN_KEY = ("quality", "fps", "identity", "models", "noise")


class Run:
    """One run. What can be wrong with its inputs is found when it is made, before any engine is loaded."""

    def __init__(self, engines: RunEngines, case: Case, settings: Settings, tell: Listener, turn: threading.Lock):
        manifest, shapes = engines.manifest, engines.manifest.shapes
        upstream = settings.compat == "upstream"
        settings = replace(settings, tile_overlap=settled_overlap(settings.tile_overlap, shapes.tile_size))
        if settings.refine is not None:
            require_refinement(engines.folder, manifest)
            settings = replace(settings, refine=settled(settings.refine, upstream, engines.folder, manifest))
        if settings.cache_interval > 1:
            require_shallow_unet(engines.folder, manifest)
        self.account = Account(tell)
        self.engines, self.case, self.settings = engines, case, settings
        self.fps = settings.fps or case.fps or FPS
        self._turn = turn
        self._shown = without_padding(case.padding, case.reference.size, shapes.height, shapes.width)
        self._refined: list[RefinedStep] = []
        self._saved = 0  # iterations that the tolerance made needless
        self._refinement: dict | None = None
        warnings = check_case(case, shapes, manifest.command)
        warnings += device_warnings(engines)
        self._identity = find_identity(
            settings.identity,
            case,
            manifest.engine("face_encoder").inputs[0].largest[-1],
            settings.models,
            embedder(upstream),
            warnings,
        )
        self._noise = make_noise(settings.noise, settings.seed, shapes.height, shapes.width, shapes.tile_size)
        self._targets = case_targets(case, shapes, upstream, warnings) if settings.refine is not None else None
        self._places = self._find_places(warnings)
        self._sigmas = make_sigmas(settings.schedule, settings.steps, manifest.schedule)
        self._tiles = tile_indices(case.frames, shapes.tile_size, settings.tile_overlap)
        self._guided = guides(settings, self._sigmas, warnings)
        self._memory, said = planned_memory(
            engines, case.frames, len(self._tiles), settings, self._guided, self._places, warnings
        )
        if said is not None:
            tell(Message(said))
        for warning in warnings:
            self.account.warn(warning)
        # Import the library before there is anything to clean up: SIGTERM during Paddle's import ends the process.
        engine_class(engines.backend)

    def _find_places(self, warnings: list[str]) -> Places | None:
        """Which chunks' faces have a window of their own; None without refinement."""
        if self._targets is None or self.settings.refine is None:
            return None
        manifest, window = self.engines.manifest, self.settings.refine.gradient == "window"
        places = find_places(self._targets.boxes, manifest, window)
        if window and places.full and manifest.refinement.window is not None:
            warnings.append(
                f"the faces of {len(places.full)} of {len(places.full) + len(places.windows)} chunks of frames do not "
                f"fit into a window of {manifest.refinement.window.size} pixels: their gradient is that of the whole "
                "frame, which takes more time and memory."
            )
        return places

    @property
    def key(self) -> dict:
        """What decides the result to the byte. Only a run with an equal key may go on from a kept state."""
        settings = asdict(self.settings)
        if settings["refine"] is not None:
            del settings["refine"]["preset"]  # a name too
        settings = {name: str(value) for name, value in settings.items() if name not in NOT_IN_KEY}
        given = (self._identity, self._noise.image, self._noise.latents)
        return {
            "version": metadata.version(PROJECT),
            "engine set": self.engines.digest,
            "device": self.engines.device,
            "case": self.case.digest(refined=self.settings.refine is not None),
            "identity and noise": hashlib.sha256(b"".join(array.tobytes() for array in given)).hexdigest(),
            "settings": settings,
            "padding": list(self.case.padding),
        }

    def start(self, state: Path | None = None) -> "Result":
        """Denoise. `state`: a folder in which the run is kept before every whole call of the UNet and at the end.

        It goes on from there. With no cached deep features, every call is whole.

        The folder must be empty, or hold what a run with an equal `key` left there.
        """
        with self._turn:
            return Result(self, *self._denoise(state))

    def _denoise(self, folder: Path | None) -> tuple[np.ndarray, int]:
        """Latents [1, T, 4, h, w], and after how many steps of an earlier command the run went on."""
        account, case, settings, engines = self.account, self.case, self.settings, self.engines
        manifest, shapes = engines.manifest, engines.manifest.shapes
        sigmas = self._sigmas
        latents = initial_latents(self._noise.latents, case.frames, manifest.schedule.sigma_max)
        kept = load_state(folder, latents.shape) if folder is not None else None
        begun = kept.steps_done if kept is not None else 0
        if kept is not None:
            latents = kept.latents
            account.tell(Message(f"going on after step {begun} of {settings.steps}, which an earlier command did"))
            self._refined, self._saved = kept.refined, kept.iterations_saved
        if begun == settings.steps:
            return latents, begun
        with account.peaks.stage("conditioning"), account.stage("conditioning", case.frames) as clock:

            def on_pose() -> None:
                clock.advance()
                account.tell(PoseEncoded(clock.done, case.frames))

            conditioning = make_conditioning(
                engines.open_single,
                manifest,
                case.reference,
                case.poses,
                self._identity,
                self._noise.image,
                settings.noise_aug,
                on_pose,
            )
        start = settings.guidance if settings.guidance_start is None else settings.guidance_start
        guidance = guidance_scales(start, settings.guidance, case.frames) if self._guided else None
        with account.peaks.stage("denoising"), ExitStack() as stack:
            refinement = None
            if self._targets is not None and self._places is not None:
                with account.stage("loading refinement"):
                    refinement = stack.enter_context(Refinement(engines, self._targets, self._places))
            with account.stage("loading unet"):
                unet = stack.enter_context(engines.open_unet(cache_interval=settings.cache_interval))
            units = (settings.steps - begun) * len(self._tiles)
            if settings.refine is not None:
                units += settings.refine.gradients(settings.steps) - settings.refine.gradients(begun)
            clock = stack.enter_context(account.stage("denoising", units))
            step = begun

            def on_tile(tile: int) -> None:
                engines.check()
                account.tell(TileDone(step + 1, settings.steps, tile + 1, len(self._tiles), clock.advance()))

            def on_iteration(record: RefinedStep, seconds: float) -> None:
                engines.check()
                account.add_seconds("refinement", seconds)
                loss, norm = record.losses[-1], record.gradient_norms[-1]
                number, left = len(record.losses), clock.advance()
                account.tell(RefinementIteration(step + 1, settings.steps, number, loss, norm, seconds, left))

            colours = LatentColours(case.reference, conditioning.image_latents, manifest.scaling_factor)

            def on_step(i: int, x: np.ndarray, denoised: np.ndarray) -> None:
                nonlocal step
                step = i + 1
                if refinement is not None:
                    self._refined, self._saved = refinement.denoiser.steps, refinement.denoiser.saved
                # Deep features are not kept, so a run goes on only where the UNet makes them anew.
                if folder is not None and (step % settings.cache_interval == 0 or step == settings.steps):
                    save_state(folder, State(step, x, self._refined, self._saved))
                account.tell(StepDone(step, settings.steps, clock.left, lambda: colours(denoised)))

            denoise: Denoiser = TiledDenoiser(
                unet,
                conditioning,
                shapes.tile_size,
                settings.tile_overlap,
                guidance,
                on_tile,
                settings.guidance_interval,
            )
            if refinement is not None and settings.refine is not None:
                denoise = refinement.wrap(denoise, unet, sigmas, settings.refine, on_iteration)
                refinement.denoiser.steps, refinement.denoiser.saved = self._refined, self._saved
            latents = sample_euler(denoise, latents, sigmas, on_step, begun)
            for warning in unet.warnings():
                account.warn(warning)
            if refinement is not None:
                self._refinement = refinement.report()
        return latents, begun

    def _decoder(self) -> Engine:
        with self.account.stage("loading vae_decoder"):
            return self.engines.open_single("vae_decoder")

    def decode(self, latents: np.ndarray, first: int) -> Iterator[tuple[int, np.ndarray]]:
        """The frames from `first` on, with their numbers. Chunks are decoded whole, as they would be from the start."""
        case, chunk = self.case, self.engines.manifest.shapes.decode_chunk
        begin = first // chunk * chunk
        with ExitStack() as stack:
            stack.enter_context(self.account.peaks.stage("decoding"))
            with self._turn:
                decoder = stack.enter_context(self._decoder())
            clock = stack.enter_context(self.account.stage("decoding", case.frames - begin))
            for start in range(begin, case.frames, chunk):
                with self._turn:  # for each chunk anew: whoever takes the frames may run other cases in between
                    decoded = decoder.infer({"latents": latents[0, start : start + chunk]})["frames"]
                for i, frame in enumerate(frames_to_bytes(decoded), start):
                    left = clock.advance()
                    if i >= first:
                        yield i, frame[self._shown]
                        self.account.tell(FrameDecoded(i + 1, case.frames, left))

    def report(self, begun: int) -> dict:
        """What run.json says of the run so far."""
        account, memory = self.account, self._memory
        made = run_report(self.engines, self.case, self.settings, self.fps, account.warnings, account.seconds)
        made["resumed_after_step"] = begun
        made["refine"] = [asdict(step) for step in self._refined]
        made["refinement"] = self._refinement
        peaks = account.peaks.bytes if self.engines.device == "cpu" else {}
        made["memory"] = memory.report(peaks) if memory is not None else None
        return made


class Result:
    """What a run made."""

    def __init__(self, run: Run, latents: np.ndarray, begun: int):
        self.latents = latents  # [1, T, 4, h, w] float32
        self.fps = run.fps
        self._run = run
        self._begun = begun

    def __len__(self) -> int:
        return self._run.case.frames

    @property
    def frames(self) -> Iterator[np.ndarray]:
        """The frames [H, W, 3] uint8 RGB, each decoded when it is asked for."""
        return (frame for _, frame in self.decode())

    def decode(self, first: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """The frames from number `first` on, with their numbers."""
        return self._run.decode(self.latents, first)

    @property
    def report(self) -> dict:
        """What run.json says. It is complete once all frames are decoded."""
        return self._run.report(self._begun)
