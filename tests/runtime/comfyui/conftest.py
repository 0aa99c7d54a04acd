"""A ComfyUI of stand-ins, with the pack installed."""

import asyncio
from pathlib import Path

import pytest
from standin import ComfyUI, loaded

from sa.runtime.comfyui.install import install


@pytest.fixture
def comfyui() -> ComfyUI:
    return ComfyUI()


@pytest.fixture
def home(tmp_path) -> Path:
    """A ComfyUI folder with the pack."""
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "input").mkdir()
    install(tmp_path)
    return tmp_path


@pytest.fixture
def nodes(home, comfyui):
    """nodes[name]: the node SA_name."""
    with loaded(home / "custom_nodes" / "stableanimator", comfyui) as pack:
        extension = asyncio.run(pack.comfy_entrypoint())
        found = asyncio.run(extension.get_node_list())
        yield {node.define_schema().node_id.removeprefix("SA_"): node for node in found}
