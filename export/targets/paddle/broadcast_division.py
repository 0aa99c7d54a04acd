"""Divisions that oneDNN computes right."""

import paddle


def broadcast_division(program: object) -> None:
    """Give dividends that are smaller than the result its shape, in a paddle.pir.Program, which is changed.

    Paddle 3.2.2's oneDNN kernel puts the larger operand first where it broadcasts the other. It does so for divisions
    too, and divides the divisor by the dividend. A product with ones is exact.
    """
    with paddle.pir_utils.IrGuard(), paddle.static.program_guard(program):
        for op in list(program.global_block().ops):
            if op.name() != "pd_op.divide" or list(op.operand_source(0).shape) == list(op.result(0).shape):
                continue
            dividend, divisor = op.operands_source()
            paddle.pir.set_insertion_point(op)
            wide = paddle.multiply(dividend, paddle.ones_like(divisor))
            op.result(0).replace_all_uses_with(paddle.divide(wide, divisor))
            program.global_block().remove_op(op)
