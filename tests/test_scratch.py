"""Scratch memory: on the stack up to a size, on the heap beyond it."""

import pytest
from numba.core import config

if config.DISABLE_JIT:
    pytest.skip("there are no addresses where nothing compiles", allow_module_level=True)

from fastlinear.kernels.jit import compiled
from fastlinear.kernels.scratch import borrow_bytes, return_bytes
from fastlinear.kernels.sizes import VECTOR_BYTES

MOST = 1024


@compiled
def borrowed(nbytes):
    """Return the address of scratch."""
    address = borrow_bytes(nbytes, MOST)
    return_bytes(address, nbytes, MOST)
    return address


@compiled
def distance(nbytes):
    """Return how far scratch in a function lies from scratch in one that it calls."""
    here = borrow_bytes(nbytes, MOST)
    there = borrowed(1)
    return_bytes(here, nbytes, MOST)
    return abs(here - there)


def test_small_scratch_is_on_the_stack_and_aligned():
    assert all(borrowed(nbytes) % VECTOR_BYTES == 0 for nbytes in (0, 1, 100, MOST))
    assert distance(MOST) < 2**16 < distance(MOST + 1)


def test_more_than_there_is():
    with pytest.raises(MemoryError):
        borrowed(2**62)
