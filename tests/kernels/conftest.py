"""Runs the kernels' sources on the CPU in Triton's interpreter, which must be chosen before Triton is imported."""

import os

os.environ["TRITON_INTERPRET"] = "1"

import pytest
import torch
from kernel_checks import GuardedMemory
from triton.runtime.interpreter import InterpreterBuilder


@pytest.fixture
def memory(monkeypatch):
    """The memory of a test's tensors. All reads and writes of kernels are checked, and the margins at the end."""
    guarded = GuardedMemory()
    load, store = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store

    def checked_load(builder, pointers, mask, *arguments):
        guarded.check_access(pointers.data[mask.data])
        return load(builder, pointers, mask, *arguments)

    def checked_store(builder, pointers, value, mask, *arguments):
        guarded.check_access(pointers.data[mask.data])
        return store(builder, pointers, value, mask, *arguments)

    monkeypatch.setattr(InterpreterBuilder, "create_masked_load", checked_load)
    monkeypatch.setattr(InterpreterBuilder, "create_masked_store", checked_store)
    monkeypatch.setattr(torch, "empty", guarded.empty)
    yield guarded
    guarded.check_margins()
