"""The launches that TensorRT would make of our plugins compute what the kernels' definitions do.

They are evaluated with a stub of TensorRT and run by Triton's interpreter. They are also compiled, with the stub and
with NVIDIA's bindings.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation import Input
from kernel_checks import assert_close
from stub_tensorrt import evaluator
from test_id_attention import FLOAT32
from test_id_attention import problem as id_problem

from sa.kernels import launching
from sa.kernels.compile import Compiled
from sa.kernels.group_norm_silu.reference import group_norm_silu
from sa.kernels.id_attention.reference import id_attention
from sa.kernels.temporal_attention.reference import temporal_attention

BINDINGS = Path(__file__).resolve().parents[2] / ".cache" / "tensorrt-bindings"
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
ELEMENTS = {torch.float16: "fp16", torch.float32: "fp32"}
RAGGED = 130  # tokens or pixels: not a multiple of any tile


@pytest.fixture
def run(memory, monkeypatch):
    """run(plugin, tensors, **attributes): the plugin's outputs, launched as TensorRT would, in the interpreter."""
    chosen = []

    def compiled(variant):
        chosen.append(variant)
        return Compiled(variant.name, "", 0, 32 * variant.warps)

    monkeypatch.setattr(launching, "portable", compiled)
    evaluate = evaluator()

    def run_(name, tensors, **attributes):
        given = [Input(ELEMENTS[one.dtype], ([one.shape[0]], *one.shape[1:])) for one in tensors[:1]]
        given += [Input(ELEMENTS[one.dtype], tuple(one.shape)) for one in tensors[1:]]
        found = evaluate(name, given, **attributes)
        dtypes = {element: dtype for dtype, element in ELEMENTS.items()}
        outputs = [torch.empty(shape, dtype=dtypes[kind], device=tensors[0].device) for kind, shape in found.outputs]
        (variant,) = chosen
        chosen.clear()
        assert found.entry == variant.name and found.block == (32 * variant.warps, 1, 1)
        variant.launch(found.grid, *tensors, *found.scalars, *outputs)
        return outputs

    return run_


@DTYPES
@pytest.mark.parametrize("eps", [1e-5, 1e-6])
def test_group_norm(run, memory, dtype, eps):
    random = np.random.default_rng(0)
    x = memory.put(1e-2 * random.standard_normal((3, 64, 10, 13)), dtype)
    weight, bias = (memory.put(random.standard_normal(64)) for _ in range(2))
    (partials,) = run("GroupNormPartials", [x])
    (y,) = run("GroupNormSiLUOutput", [x, partials, weight, bias], epsilon=np.array([eps], np.float32))
    flat = x.reshape(3, 64, RAGGED).double().numpy()
    expected = group_norm_silu(flat, weight.double().numpy(), bias.double().numpy(), 1, eps)
    assert_close(y, expected.reshape(y.shape))


def test_group_norm_of_clips(run, memory):
    """The UNet's norms over time take [clips, channels, frames, pixels]; the definition has frames first."""
    random = np.random.default_rng(0)
    frames, pixels = 5, 7
    x = random.standard_normal((2, frames, 64, pixels))
    weight, bias = (memory.put(random.standard_normal(64)) for _ in range(2))
    clips = memory.put(np.ascontiguousarray(x.transpose(0, 2, 1, 3)))
    (partials,) = run("GroupNormPartials", [clips])
    (y,) = run("GroupNormSiLUOutput", [clips, partials, weight, bias], epsilon=np.array([1e-5], np.float32))
    expected = group_norm_silu(
        x.reshape(-1, 64, pixels), weight.double().numpy(), bias.double().numpy(), frames, 1e-5
    ).reshape(x.shape)
    assert_close(y, expected.transpose(0, 2, 1, 3))


@DTYPES
def test_id_attention(run, memory, dtype):
    arguments = id_problem(4, RAGGED, 3, 12)
    arguments["gain"] *= 0.7
    put = {name: memory.put(values, torch.float32 if name in FLOAT32 else dtype) for name, values in arguments.items()}
    flat = {name: put[name].reshape(2, -1) for name in ("keys", "values", "moments", "shift", "base", "gain")}
    x = put["x"]
    weights = put["norm_weight"], put["norm_bias"]
    probabilities, sums = run("IDAttentionProbabilities", [x, *weights, flat["keys"], flat["moments"], flat["gain"]])
    (y,) = run(
        "IDAttentionOutput",
        [x, probabilities, sums, *(flat[name] for name in ("values", "shift", "base", "gain"))],
    )
    expected = id_attention(**{name: tensor.double().numpy() for name, tensor in put.items()})
    assert_close(y[2:], expected[2:])
    assert_close(y[:2], expected[:2])


@DTYPES
def test_temporal_attention(run, memory, dtype):
    clips, frames, pixels, heads, width = 2, 5, 6, 2, 24
    random = np.random.default_rng(0)
    inputs = [memory.put(random.standard_normal((clips * frames, pixels, heads * width)), dtype) for _ in range(3)]
    expected = temporal_attention(*(one.double().numpy() for one in inputs), frames, heads)
    # In the graph the same rows are grouped differently.
    inputs = [one.reshape(clips * pixels, frames, heads * width) for one in inputs]
    (y,) = run("TemporalAttention", inputs, sizes=np.array([frames, pixels, heads], np.int32))
    assert_close(y, expected.reshape(y.shape))


EVALUATE = """
import json, sys
import numpy as np
from evaluation import Input
from ptx_types import entry_types
if sys.argv[1] == "stub":
    from stub_tensorrt import evaluator
    evaluate = evaluator()
else:
    from pathlib import Path
    from bindings import evaluator
    evaluate = evaluator(Path(sys.argv[1]))
    assert evaluate.trt.__version__ == Path(sys.argv[1]).name
for element in ("fp16", "fp32"):
    def act(*shape): return Input(element, shape)
    def single(*shape): return Input("fp32", shape)
    x, norm = act([32], 1024, 640), single(640)
    gain, moments = single([2], 1), single([2], 40 * 41)
    clips, features = act([32], 640, 32, 32), single(640)
    packed = act([2048], 16, 640)
    calls = {
        "IDAttentionProbabilities": [x, norm, norm, act([2], 640 * 40), moments, gain],
        "IDAttentionOutput": [
            x, act([32], 1024, 40), single([32], 16, 2), act([2], 640 * 40), single([2], 640), single([2], 640), gain
        ],
        "GroupNormPartials": [clips],
        "GroupNormSiLUOutput": [clips, single([32], 32, 1, 1, 2), features, features],
        "TemporalAttention": [packed] * 3,
    }
    attributes = {
        "GroupNormSiLUOutput": {"epsilon": np.array([1e-6], np.float32)},
        "TemporalAttention": {"sizes": np.array([16, 1024, 10], np.int32)},
    }
    for name, inputs in calls.items():
        found = evaluate(name, inputs, **attributes.get(name, {}))
        pointers = ["u64"] * len(inputs), ["u64"] * len(found.outputs)
        assert entry_types(found.ptx) == [*pointers[0], *["u32"] * len(found.scalars), *pointers[1]], name
        assert f".entry {found.entry}(" in found.ptx and found.block[0] % 32 == 0, name
        launch = found.outputs, found.entry, found.grid, found.block, found.shared, found.scalars
        print(json.dumps([element, name, *launch]))
"""


def evaluated(library: str) -> list:
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    kept["PYTHONPATH"] = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", EVALUATE, library], capture_output=True, text=True, env=kept)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[") or line.startswith('["fp')]


@pytest.fixture(scope="module")
def ours():
    return evaluated("stub")


def test_arguments_are_in_the_order_of_the_ptx(ours):
    assert len(ours) == 10
    launches = {(element, name): rest for element, name, *rest in ours}
    outputs, entry, grid, *_, scalars = launches["fp16", "IDAttentionProbabilities"]
    assert outputs == [["fp16", [32, 1024, 40]], ["fp32", [32, 16, 2]]]
    assert (entry, grid, scalars) == ("probabilities_kernel", [16, 32, 1], [1024, 16])
    assert launches["fp32", "GroupNormPartials"][0] == [["fp32", [32, 32, 1, 1, 2]]]
    assert launches["fp16", "TemporalAttention"][2] == [10240, 2, 1]


@pytest.mark.parametrize("version", ["10.9.0.34", "11.4.0.106"])
def test_nvidias_bindings_make_the_same_of_them(version, ours):
    if not (BINDINGS / version).is_dir():
        pytest.skip("make test-kernels fetches the bindings")
    assert evaluated(str(BINDINGS / version)) == ours
