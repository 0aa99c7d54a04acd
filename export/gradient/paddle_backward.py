"""Differentiates Paddle programs with Paddle's static gradient."""

import paddle

from sa.export.gradient import Gradient


def differentiate(program: object, inputs: list, output: object, gradient: Gradient) -> object:
    """The program of `gradient`, from a forward program (paddle.pir.Program, changed), its inputs and output."""
    source = next(value for value in inputs if value.get_defining_op().attrs()["name"] == gradient.of)
    source.stop_gradient = False
    with paddle.pir_utils.IrGuard(), paddle.static.program_guard(program):
        feeds, fetches, seeds = list(inputs), [output], None
        if gradient.cotangent is not None:
            shape = [dim if isinstance(dim, int) else -1 for dim in gradient.cotangent.shape]
            seed = paddle.static.data(gradient.cotangent.name, shape, "float32")
            feeds, fetches, seeds = [*feeds, seed], [], [seed]
        (result,) = paddle.static.gradients([output], [source], seeds)
        _read_shapes_only(program)
        return paddle.static.normalize_program(program, feeds, [*fetches, result])


def _read_shapes_only(program: object) -> None:
    """Remove the forward values that gradients of sums and reshapes read only for their shapes.

    Otherwise the whole forward pass would be computed, although the VJP does not need its last values.
    """
    for op in list(program.global_block().ops):
        if op.name() not in ("pd_op.add_grad", "pd_op.reshape_grad"):
            continue
        *values, arriving = op.operands_source()
        for value, result in zip(values, op.results(), strict=False):
            if not result.initialized() or list(result.shape).count(-1) > 1:
                continue
            if op.name() == "pd_op.reshape_grad":
                paddle.pir.set_insertion_point(op)
                result.replace_all_uses_with(paddle.reshape(arriving, list(value.shape)))
            elif list(value.shape) == list(arriving.shape):
                result.replace_all_uses_with(arriving)
