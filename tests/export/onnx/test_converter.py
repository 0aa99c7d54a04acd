"""paddle2onnx in its own process: the message of a failure, and that the next conversion works."""

import json

import onnx
import paddle
import pytest
from paddle import nn

from sa.export.engines.trace import trace
from sa.export.onnx.converter import ConversionError, Converter
from sa.runtime.contract import TensorSpec


@pytest.fixture
def program(tmp_path):
    network = nn.Conv2D(3, 4, 3)
    for name, parameter in network.named_parameters():
        parameter.name = name
        parameter.stop_gradient = True
    spec = TensorSpec(name="x", shape=(1, 3, 8, 8))
    paddle.jit.ignore_module([nn.layer.conv])
    trace(network.forward, (spec,), (TensorSpec(name="y", shape=(1, 4, 6, 6)),)).save(tmp_path / "program.json")
    return tmp_path / "program.json"


def test_a_converter_converts_again_and_again(program, tmp_path):
    converter = Converter()
    for i in range(2):
        converter.convert(program, tmp_path / f"{i}.onnx")
        assert "Conv" in {node.op_type for node in onnx.load(tmp_path / f"{i}.onnx").graph.node}


def test_a_conversion_that_kills_its_process_says_so_and_the_next_one_works(program, tmp_path):
    converter = Converter()
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({"not": "a program"}))
    with pytest.raises(ConversionError, match=r"exit status|empty file"):
        converter.convert(broken, tmp_path / "broken.onnx")
    converter.convert(program, tmp_path / "good.onnx")
    assert (tmp_path / "good.onnx").stat().st_size
