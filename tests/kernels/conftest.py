"""The tests run the kernels' sources on the CPU, in Triton's interpreter, which is chosen before Triton is imported."""

import os

os.environ["TRITON_INTERPRET"] = "1"

import pytest
import torch
from kernel_checks import GuardedMemory
from triton.runtime.interpreter import InterpreterBuilder


@pytest.fixture
def memory(monkeypatch):
    """Where a test's tensors lie: whatever kernels read and write is checked, and in the end what they wrote around."""
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
