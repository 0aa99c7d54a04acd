"""ID attention as two plugins of TensorRT: `IDAttentionProbabilities`, then `IDAttentionOutput`.

x is [frames, tokens, channels]. The folded tensors of each branch are flattened, [branches, *].
"""

from types import ModuleType

from sa.kernels import shapes
from sa.kernels.id_attention.kernel import variants
from sa.kernels.launching import constant, element_of, launch
from sa.kernels.variant import Variant


def register(trt: ModuleType, trtp: ModuleType) -> None:
    """Register both with TensorRT. trt and trtp are tensorrt and tensorrt.plugin."""

    def kernels(x: trtp.TensorDesc, folded: trtp.TensorDesc) -> tuple[Variant, Variant]:
        """The kernels for the width of x; `folded` are the keys or the values."""
        channels = constant(x.shape_expr[2])
        heads = max(1, constant(folded.shape_expr[1]) // (channels * shapes.FACE_TOKENS))
        return variants(channels, heads, element_of(trt, x))

    def grid(x: trtp.TensorDesc, variant: Variant) -> tuple:
        return trtp.cdiv(x.shape_expr[1], variant.constants["block_tokens"]), x.shape_expr[0]

    def sizes(x: trtp.TensorDesc, gain: trtp.TensorDesc) -> tuple:
        return x.shape_expr[1], x.shape_expr[0] // gain.shape_expr[0]

    @trtp.register("sa::IDAttentionProbabilities")
    def probabilities(
        x: trtp.TensorDesc,
        norm_weight: trtp.TensorDesc,
        norm_bias: trtp.TensorDesc,
        keys: trtp.TensorDesc,
        moments: trtp.TensorDesc,
        gain: trtp.TensorDesc,
    ) -> tuple[trtp.TensorDesc, trtp.TensorDesc]:
        """The probabilities [frames, tokens, 4 heads], and their statistics [frames, tiles, 2] float32."""
        first, _ = kernels(x, keys)
        tiles, frames = grid(x, first)
        columns = shapes.FACE_TOKENS * first.constants["heads"]
        return (
            trtp.from_shape_expr((frames, x.shape_expr[1], columns), dtype=x.dtype),
            trtp.from_shape_expr((frames, tiles, 2), dtype=trt.float32),
        )

    @trtp.aot_impl("sa::IDAttentionProbabilities")
    def launch_probabilities(
        x, norm_weight, norm_bias, keys, moments, gain, outputs, tactic
    ) -> tuple[str, str, trtp.KernelLaunchParams, trtp.SymExprs]:
        first, _ = kernels(x, keys)
        return launch(trtp, first, grid(x, first), sizes(x, gain))

    @trtp.register("sa::IDAttentionOutput")
    def output(
        x: trtp.TensorDesc,
        probabilities: trtp.TensorDesc,
        partial_sums: trtp.TensorDesc,
        values: trtp.TensorDesc,
        shift: trtp.TensorDesc,
        base: trtp.TensorDesc,
        gain: trtp.TensorDesc,
    ) -> trtp.TensorDesc:
        """x plus the attention's result, shaped like x."""
        return x.like()

    @trtp.aot_impl("sa::IDAttentionOutput")
    def launch_output(
        x, probabilities, partial_sums, values, shift, base, gain, outputs, tactic
    ) -> tuple[str, str, trtp.KernelLaunchParams, trtp.SymExprs]:
        _, second = kernels(x, values)
        return launch(trtp, second, grid(x, second), sizes(x, gain))
