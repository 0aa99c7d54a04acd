"""Turns a network into a program that computes its gradient with forward operators, so running it needs no autograd.

There are two ways, one per library, and the tests compare them: ONNX graphs are differentiated here, with one rule per
operator (onnx_rules.py), and Paddle programs by Paddle's static gradient (paddle_backward.py).
"""

from dataclasses import dataclass

from sa.runtime.contract import TensorSpec


@dataclass(frozen=True)
class Gradient:
    """The derivative of a network y = f(x, ...): its vector-Jacobian product (VJP) with respect to one input.

    With a `cotangent` dy, shaped like y, the program is (x, ..., dy) -> dx, and computes only the part of y that dx
    needs. Without one, y is a scalar loss [1] and the program is (x, ...) -> (y, dx).
    """

    of: str  # the name of the input x
    cotangent: TensorSpec | None
    result: TensorSpec  # dx

    def inputs(self, forward: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The inputs of the program, from those of the network."""
        return forward if self.cotangent is None else (*forward, self.cotangent)

    def outputs(self, forward: TensorSpec) -> tuple[TensorSpec, ...]:
        """The outputs of the program, from the output of the network."""
        return (forward, self.result) if self.cotangent is None else (self.result,)
