"""Kernels over a range of independent items (rows, elements): serial where small, else in chunks.

A range kernel has the signature kernel(start, stop, *arguments) and computes the items start to
stop - 1, none of which depends on another. So chunks change no bit, whoever computes them.
"""

from __future__ import annotations

from typing import Any

from numba import prange

from fastlinear.kernels.jit import compiled
from fastlinear.kernels.sizes import CHUNK_ELEMENTS, SHARED_ELEMENTS


@compiled(parallel=True)
def _in_chunks(kernel, size, chunk, arguments):
    for c in prange((size + chunk - 1) // chunk):
        kernel(c * chunk, min((c + 1) * chunk, size), *arguments)


def run(kernel: Any, size: int, width: int, *arguments: Any) -> None:
    """Run a range kernel over ``size`` items of ``width`` elements each."""
    if size * width < SHARED_ELEMENTS:
        kernel(0, size, *arguments)
    else:
        _in_chunks(kernel, size, max(1, CHUNK_ELEMENTS // width), arguments)
