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
ADAM_BETAS = (0.9, 0.99)


class Muon(torch.optim.Optimizer):
    """`lr` is the learning rate of the matrices. Adam's is `adam_share` times that."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], lr: float, adam_share: float = 0.1):
        super().__init__(list(parameters), {"lr": lr, "adam_share": adam_share})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[torch.nn.Parameter]] = defaultdict(list)
            by_adam: dict[int, list[torch.nn.Parameter]] = defaultdict(list)  # by how often they were updated
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
                if by_matrix:
                    alike[len(parameter), parameter[0].numel()].append(parameter)
                else:
                    by_adam[state["step"]].append(parameter)
            for (rows, columns), parameters in alike.items():
                self._orthogonal(parameters, rows, columns, group["lr"])
            for step, parameters in by_adam.items():
                self._adam(parameters, step, group["lr"] * group["adam_share"])

    def _orthogonal(self, parameters: list[torch.nn.Parameter], rows: int, columns: int, rate: float) -> None:
        gradients = [p.grad for p in parameters]
        momenta = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, MOMENTUM)  # Nesterov's momentum
        updates = orthogonal(torch.stack([one.reshape(rows, columns) for one in ahead]))
        scale = max(1.0, rows / columns) ** 0.5
        found = [update.view_as(p) for update, p in zip(updates, parameters, strict=True)]
        torch._foreach_add_(parameters, found, alpha=-rate * scale)

    def _adam(self, parameters: list[torch.nn.Parameter], step: int, rate: float) -> None:
        gradients = [p.grad for p in parameters]
        momenta, squares = ([self.state[p][name] for p in parameters] for name in ("momentum", "square"))
        first, second = ADAM_BETAS
        torch._foreach_lerp_(momenta, gradients, 1 - first)
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - second)
        below = torch._foreach_div(squares, 1 - second**step)
        torch._foreach_sqrt_(below)
        torch._foreach_add_(below, 1e-8)
        torch._foreach_addcdiv_(parameters, momenta, below, value=-rate / (1 - first**step))


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
