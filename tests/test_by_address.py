"""Functions called by address: a body that can't be had raises where it is called."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from llvmlite import binding
from numba import types

from fastlinear.kernels import by_address
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import call


@compiled(internal=True)
def double(x, where):
    where[0] = x + x


def _types(scalar):
    return scalar, types.Array(scalar, 1, "C")


double_address = by_address.by_address(double, _types)


@compiled
def caller(x, where):
    call(double_address(x), (x, where))


def test_a_body_that_does_not_compile_raises(monkeypatch, capsys):
    where = np.zeros(1, np.float32)
    caller(np.float32(21), where)
    assert where[0] == 42

    def fails(*_):
        raise ValueError("no body today")

    # As in a process that loads the caller from the disk cache: the slot is still empty.
    symbol = f"{__name__}.double.float32"
    slot = ctypes.c_ssize_t.from_address(binding.address_of_symbol(symbol))
    slot.value = 0
    monkeypatch.setattr(by_address, "native_address", fails)
    with pytest.raises(RuntimeError, match=r"double\.float32 could not be compiled"):
        caller(np.float32(1), where)
    assert where[0] == 42
    with pytest.raises(RuntimeError, match="could not be compiled"):
        by_address.compile_all("float32")
    assert "no body today" in capsys.readouterr().err

    monkeypatch.undo()
    caller(np.float32(2), where)  # tried anew, and found
    assert where[0] == 4


def test_a_lazy_one_is_compiled_when_it_is_called():
    @compiled(internal=True)
    def triple(x, where):
        where[0] = x + x + x

    triple_address = by_address.by_address(triple, _types, lazy=True)

    @compiled
    def calls_if(x, where, wanted):
        if wanted:
            call(triple_address(x), (x, where))

    where = np.zeros(1)
    calls_if(7.0, where, False)
    assert not triple.overloads
    calls_if(7.0, where, True)
    assert where[0] == 21
