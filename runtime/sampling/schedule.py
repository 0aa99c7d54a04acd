"""The noise levels of the steps (docs/model.md, section 5)."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from sa.runtime.errors import InputError

if TYPE_CHECKING:
    from sa.runtime.contract import Schedule

RHO = 7.0
# Ten steps of Stable Video Diffusion, before the 0 at the end (Sabour et al. 2024, "Align Your Steps").
AYS_SIGMAS = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034)

ScheduleName = Literal["karras", "ays"]


def make_sigmas(name: ScheduleName, steps: int, schedule: "Schedule") -> np.ndarray:
    """[steps + 1] float32, falling from the largest sigma to 0; InputError if the schedule is not for this model."""
    if name == "karras":
        return karras_sigmas(steps, schedule.sigma_min, schedule.sigma_max)
    if schedule.sigma_max != AYS_SIGMAS[0]:
        raise InputError(
            f"--schedule ays is made for models whose largest sigma is {AYS_SIGMAS[0]:g}, but the engine set's is "
            f"{schedule.sigma_max:g}: take --schedule karras."
        )
    return ays_sigmas(steps)


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float) -> np.ndarray:
    """[steps + 1] float32: falling from sigma_max to sigma_min, then 0 (Karras et al. 2022, equation 5)."""
    ramp = np.linspace(0.0, 1.0, steps) if steps > 1 else np.zeros(1)
    low, high = sigma_min ** (1 / RHO), sigma_max ** (1 / RHO)
    return np.append((high + ramp * (low - high)) ** RHO, 0.0).astype(np.float32)


def ays_sigmas(steps: int) -> np.ndarray:
    """[steps + 1] float32: the published ten steps, or as many by interpolating their logarithms, then 0."""
    places = np.linspace(0.0, len(AYS_SIGMAS) - 1, steps) if steps > 1 else np.zeros(1)
    sigmas = np.exp(np.interp(places, np.arange(len(AYS_SIGMAS)), np.log(AYS_SIGMAS)))
    return np.append(sigmas, 0.0).astype(np.float32)
