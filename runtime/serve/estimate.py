"""How long a video will take, by what earlier ones took on the same engine set."""

from sa.runtime.contract import Shapes
from sa.runtime.errors import InputError
from sa.runtime.sampling.tiles import tile_indices
from sa.runtime.serve.settings import VideoSettings
from sa.runtime.serve.store.measured import FRAME, GRADIENT, UNET_CALL


def estimated_seconds(settings: VideoSettings, shapes: Shapes, frames: int, means: dict[str, float]) -> float | None:
    """Seconds from sampling to the last frame. None before anything was measured. means: seconds of one, by what."""
    sampling = settings.sampling(None)
    try:
        tiles = len(tile_indices(frames, shapes.tile_size, settings.tile_overlap))
    except InputError:
        return None
    counts = {UNET_CALL: sampling.steps * tiles, FRAME: frames}
    if sampling.refine is not None:
        counts[GRADIENT] = sampling.refine.gradients(sampling.steps)
    if not counts.keys() <= means.keys():
        return None
    return sum(count * means[what] for what, count in counts.items())
