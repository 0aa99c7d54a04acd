"""Muon: momentum with orthogonal matrices. Here it learns from fewer pictures than Adam does.

Keller Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". Newton-Schulz iterations make
matrices and convolution kernels orthogonal, those of one shape together. Adam updates vectors, and matrices so large
that the iterations would cost more than the gradient.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch

MOMENTUM = 0.95
LARGEST = 256  # the smaller side of a matrix; a larger one is left to Adam
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """`lr` is the learning rate of the matrices. Adam's is `adam_share` times that."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], lr: float, adam_share: float = 0.1):
        super().__init__(list(parameters), {"lr": lr, "adam_share": adam_share})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[torch.nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                by_matrix = parameter.ndim > 1 and min(len(parameter), parameter[0].numel()) <= LARGEST
                state = self.state[parameter]
                if not state:
                    state["momentum"], state["step"] = torch.zeros_like(parameter), 0
                    if not by_matrix:
                        state["square"] = torch.zeros_like(parameter)
                state["step"] += 1
                if not by_matrix:
                    self._adam(parameter, state, group["lr"] * group["adam_share"])
                else:
                    state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
                    alike[len(parameter), parameter[0].numel()].append(parameter)
            for (rows, columns), parameters in alike.items():
                # Nesterov's momentum
                ahead = [p.grad.lerp(self.state[p]["momentum"], MOMENTUM).reshape(rows, columns) for p in parameters]
                updates = orthogonal(torch.stack(ahead))
                for parameter, update in zip(parameters, updates, strict=True):
                    scale = max(1.0, rows / columns) ** 0.5
                    parameter.add_(update.view_as(parameter), alpha=-group["lr"] * scale)

    @staticmethod
    def _adam(parameter: torch.nn.Parameter, state: dict, rate: float) -> None:
        state["momentum"].lerp_(parameter.grad, 0.1)
        state["square"].lerp_(parameter.grad.square(), 0.01)
        mean = state["momentum"] / (1 - 0.9 ** state["step"])
        square = state["square"] / (1 - 0.99 ** state["step"])
        parameter.addcdiv_(mean, square.sqrt().add_(1e-8), value=-rate)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Matrices [n, rows, columns] -> approximately the nearest ones whose singular values are all near 1."""
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide else x.mT
