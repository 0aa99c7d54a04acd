"""A network becomes the program of its gradient, in forward operators only: no autograd library at run time.

Two routes, one per engine library, held against each other by the tests: ONNX graphs are differentiated here, one rule
per operator (onnx_rules.py); Paddle programs by Paddle's own static gradient (paddle_backward.py).
"""

from dataclasses import dataclass

from sa.runtime.contract import TensorSpec


@dataclass(frozen=True)
class Gradient:
    """What is wanted of a network y = f(x, ...): its vector-Jacobian product (VJP) with respect to one input.

    With a `cotangent` dy, shaped like y, the program is (x, ..., dy) -> dx and computes of y only what dx needs.
    Without one, y is a scalar loss [1] and the program is (x, ...) -> (y, dx).
    """

    of: str  # the input x
    cotangent: TensorSpec | None
    result: TensorSpec  # dx

    def inputs(self, forward: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """What goes in, for a network with these inputs."""
        return forward if self.cotangent is None else (*forward, self.cotangent)

    def outputs(self, forward: TensorSpec) -> tuple[TensorSpec, ...]:
        """What comes out, for a network with this output."""
        return (forward, self.result) if self.cotangent is None else (self.result,)
