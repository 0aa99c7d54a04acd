"""The settings of a job, as a request gives them: those of sa-run and sa-prepare that a stranger may choose."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints, field_validator, model_validator

from sa.runtime.contract import Manifest, Record
from sa.runtime.pipeline.quality import DEFAULT, qualities, quality_settings
from sa.runtime.pipeline.settings import Settings
from sa.runtime.prepare.options import LARGEST, Person, PrepareOptions
from sa.runtime.refinement.hjb import GradientOf, RefineSettings, Region
from sa.runtime.refinement.presets import DEFAULT as DEFAULT_PRESET
from sa.runtime.refinement.presets import refine_presets, refine_settings
from sa.runtime.sampling.schedule import ScheduleName

QUALITIES = tuple(qualities())
Steps = Annotated[int, Field(ge=1, le=1000)]
Scale = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Sigma = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class Refinement(Record):
    """The face refinement (HJB)."""

    preset: Annotated[
        Literal[tuple(refine_presets())],  # type: ignore[valid-type]
        Field(description="what start, end, iterations and rate are if they are not given"),
    ] = DEFAULT_PRESET
    start: Annotated[int | None, Field(ge=0, le=999, description="first step refined; 0, if end is given")] = None
    end: Annotated[
        int | None,
        Field(ge=0, le=999, description=f"last step refined, itself included; {RefineSettings.end}, if start is given"),
    ] = None
    every: Annotated[int | None, Field(ge=1, le=1000, description="refine every Nth of these steps")] = None
    iterations: Annotated[int | None, Field(ge=1, le=1000, description="gradient steps at each of them")] = None
    rate: Annotated[float | None, Field(gt=0, le=10, description="how far a gradient step moves a latent")] = None
    region: Annotated[
        Literal[get_args(Region)] | None,  # type: ignore[valid-type]
        Field(description="which latents move: those of the face, as by default, or all"),
    ] = None
    gradient: Annotated[
        Literal[get_args(GradientOf)] | None,  # type: ignore[valid-type]
        Field(
            description="of a window around the face or of the frame; by default a window where the engines have one"
        ),
    ] = None
    tolerance: Annotated[
        float | None,
        Field(ge=0, lt=1, description="end a step's gradient steps once the loss falls by less than this share"),
    ] = None

    def chosen(self, steps: int) -> RefineSettings:
        """As the pipeline takes them in a run of so many steps: the preset's, but for what is given."""
        return refine_settings(steps, **self.model_dump(exclude_none=True))


class VideoSettings(Record):
    """How a video is made. What is left out is as sa-run has it."""

    engines: Annotated[
        str | None,
        StringConstraints(max_length=100),
        Field(description="name of an engine set, as /v1/engines lists them; the first one by default"),
    ] = None
    review: Annotated[bool, Field(description="prepare the case and wait for POST .../start")] = False
    frames: Annotated[
        str | None,
        StringConstraints(pattern=r"^[0-9]{0,9}:[0-9]{0,9}(:[0-9]{1,9})?$"),
        Field(
            description="START:STOP:STEP, the driving frames to take; of a case START:STOP",
            examples=["0:48:1"],
        ),
    ] = None
    person: Person = LARGEST
    prepare: Annotated[
        PrepareOptions,
        Field(
            description="how a case is made of the photo and the driving video, as by sa-prepare's flags of these names"
        ),
    ] = PrepareOptions()
    quality: Annotated[
        Literal[QUALITIES],  # type: ignore[valid-type]
        Field(description="what the next four settings are if they are not given"),
    ] = DEFAULT
    steps: Steps | None = None
    schedule: ScheduleName | None = None
    guidance_interval: tuple[Sigma, Sigma] | None = None
    cache_interval: Annotated[int, Field(ge=1, le=1000)] | None = None
    guidance: Scale = Settings.guidance
    guidance_start: Scale | None = None
    tile_overlap: Annotated[int, Field(ge=1, le=255)] | None = None
    noise_aug: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = Settings.noise_aug
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = Settings.seed
    fps: Annotated[float, Field(ge=0.1, le=240, allow_inf_nan=False)] | None = None
    audio: Annotated[bool, Field(description="the video gets the driving video's audio")] = True
    identity: Annotated[
        Literal["case", "none"], Field(description="none: zeros, the person's face will not be kept")
    ] = "case"
    refine: Refinement | None = None

    @field_validator("guidance_interval")
    @classmethod
    def _ascending(cls, interval: tuple[float, float] | None) -> tuple[float, float] | None:
        if interval is not None and not interval[0] < interval[1]:
            raise ValueError("the first sigma must be less than the second")
        return interval

    @model_validator(mode="after")
    def _some_frames(self) -> "VideoSettings":
        start, stop, step = self.selection
        if step == 0 or (stop is not None and stop <= start):
            raise ValueError("frames must be START:STOP:STEP, START less than STOP and STEP at least 1")
        sampling = self.sampling(None)
        if sampling.refine is not None:
            if sampling.refine.end < sampling.refine.start:
                raise ValueError("refine.end must be at least refine.start")
            if sampling.refine.start >= sampling.steps:
                raise ValueError("refine.start must be less than the number of steps")
            if (sampling.refine.region, sampling.refine.gradient) == ("frame", "window"):
                raise ValueError("refine.gradient must not be window where refine.region is frame")
        return self

    @property
    def selection(self) -> tuple[int, int | None, int]:
        """Start, stop and step of `frames`."""
        start, stop, step = [*(self.frames or "::").split(":"), ""][:3]
        return int(start or 0), int(stop) if stop else None, int(step) if step else 1

    def sampling(self, models: Path | None) -> Settings:
        """As the pipeline takes them. `models`: face networks for a case without an identity."""
        names = ("steps", "schedule", "guidance_interval", "cache_interval")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        chosen = quality_settings(self.quality)
        return Settings(
            **{name: getattr(chosen, name) for name in ("quality", *names)} | given,
            guidance=self.guidance,
            guidance_start=self.guidance_start,
            tile_overlap=self.tile_overlap,
            noise_aug=self.noise_aug,
            seed=self.seed,
            fps=self.fps,
            identity="none" if self.identity == "none" else None,
            models=models if self.identity == "case" else None,
            refine=self.refine.chosen(given.get("steps", chosen.steps)) if self.refine is not None else None,
        )

    def misfit(self, manifest: Manifest) -> tuple[str, str] | None:
        """What this engine set cannot do: the setting's name and a sentence. None: it can do it all."""
        if self.refine is not None and manifest.refine is None:
            return "refine", "this engine set was made without the refinement: leave refine out, or choose another."
        if self.refine is not None and self.refine.gradient == "window" and manifest.refinement.window is None:
            return "refine", "this engine set was made without a window: leave refine.gradient out, or choose another."
        if self.sampling(None).cache_interval > 1 and manifest.cache_depth is None:
            named = "quality" if self.cache_interval is None else "cache_interval"
            return named, (
                "this engine set was made without a shallow UNet, which a cache_interval above 1 takes: set "
                "cache_interval to 1, or choose another."
            )
        if self.tile_overlap is not None and self.tile_overlap >= manifest.shapes.tile_size:
            return "tile_overlap", (
                f"tile_overlap must be less than this engine set's tile of {manifest.shapes.tile_size} frames, not "
                f"{self.tile_overlap}."
            )
        return None
