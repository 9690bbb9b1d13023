"""Arrays that begin at a cache line: no vector straddles two, and no more of B than must.

NumPy's begin where the allocator puts them, most often 16 bytes into a line. Weights that do take
1.7 times as long at (1, 512, 512), where nothing but reading them counts. Those that begin at half
a line took 1.1 times as long at (32, 784, 128) and (8, 256, 256), whose panels are one line wide.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastlinear.kernels.tile import LINE_BYTES

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


def aligned_zeros(
    shape: tuple[int, ...], dtype: DTypeLike, order: Literal["C", "F"] = "C"
) -> NDArray[Any]:
    """Return zeros whose memory is not touched yet."""
    memory = np.zeros(math.prod(shape) * np.dtype(dtype).itemsize + LINE_BYTES, np.uint8)
    start = -memory.ctypes.data % LINE_BYTES
    aligned: NDArray[Any] = np.ndarray(shape, dtype, memory.data, start, order=order)
    return aligned


def aligned_copy(array: NDArray[Any]) -> NDArray[Any]:
    """Return a copy in Fortran order, in which layers hold their weights."""
    copy = aligned_zeros(array.shape, array.dtype, order="F")
    copy[...] = array
    return copy


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array itself where it lies in memory like an `aligned_copy`, or such a copy."""
    fits = array.flags.f_contiguous and array.ctypes.data % LINE_BYTES == 0
    return array if fits else aligned_copy(array)
