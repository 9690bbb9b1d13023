"""Kernels made from a scalar function: Y = h(X) and dX = dY o h'(V), over rows of a matrix.

`product` calls them on the piece of a matrix it has at hand, `tiled` on whole matrices. They are
called by address, so that any activation, the user's own included, runs inside kernels that were
compiled before it. LLVM vectorises the loops; h is branch-free for that.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import from_dtype, prange, types
from numba.core import config
from numpy.typing import NDArray

from fastlinear.kernels import loops
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import MATRIX, call, moved, row_of, view
from fastlinear.kernels.shared import native_address
from fastlinear.kernels.sizes import SHARED_ELEMENTS
from fastlinear.kernels.threads import thread_count

GRAIN = 64  # elements: shares start at a cache line, and no two write to the same one


def map_kernel(h: Any) -> Any:
    """Return the kernel of Y_rc = h(X_rc); the columns of X and Y are adjacent, X is not Y."""

    @compiled(internal=True)
    def kernel(one, rows, columns, X, Y, p, q):
        for r in range(rows):
            x = row_of(one, X, r, columns)
            y = row_of(one, Y, r, columns)
            for c in range(columns):
                y[c] = h(x[c], p, q)

    return kernel


def hadamard_kernel(h_prime: Any) -> Any:
    """Return the kernel of dX_rc = dY_rc h'(V_rc), equation (18); columns adjacent."""

    @compiled(internal=True)
    def kernel(one, rows, columns, dY, V, dX, p, q):
        for r in range(rows):
            dy = row_of(one, dY, r, columns)
            v = row_of(one, V, r, columns)
            dx = row_of(one, dX, r, columns)
            for c in range(columns):
                dx[c] = dy[c] * h_prime(v[c], p, q)

    return kernel


@compiled
def kept_derivative(v, p, q):
    """H' where the forward pass kept h'(Z) itself."""
    return v


@cache
def map_address(h: Any, dtype: np.dtype[Any]) -> int:
    """Return the address of the map kernel of h for a dtype, compiled on first use."""
    return _address(map_kernel(h), 2, dtype)


@cache
def hadamard_address(h_prime: Any, dtype: np.dtype[Any]) -> int:
    """Return the address of the Hadamard kernel of h' for a dtype, compiled on first use."""
    return _address(hadamard_kernel(h_prime), 3, dtype)


def _address(kernel: Any, matrices: int, dtype: np.dtype[Any]) -> int:
    scalar = from_dtype(dtype)
    return native_address(
        kernel, scalar, types.intp, types.intp, *[MATRIX] * matrices, scalar, scalar
    )


def rows(array: NDArray[Any]) -> NDArray[Any]:
    """Return the matrix with adjacent columns, which these kernels need: itself, or a copy."""
    if array.strides[1] == array.itemsize or array.shape[1] == 1:
        return array
    return np.ascontiguousarray(array)


def run(h: Any, X: NDArray[Any], Y: NDArray[Any], p: Any, q: Any) -> None:
    """Y_rc = h(X_rc) for a scalar function h; X may have any strides, Y's columns are adjacent."""
    if config.DISABLE_JIT:
        loops.activation_forward(h, X, p, q, Y)
    else:
        run_map(map_address(h, X.dtype), rows(X), Y, p, q)


@compiled(parallel=True, any_layout=True)
def run_map(kernel, X, Y, p, q):
    """Run a map kernel over whole matrices whose columns are adjacent, in parallel over shares."""
    shares = shares_for(X.size)
    if shares == 1:
        map_share(kernel, X, Y, p, q, 0, 1)
    else:
        for t in prange(shares):
            map_share(kernel, X, Y, p, q, t, shares)


@compiled(parallel=True, any_layout=True)
def run_hadamard(kernel, dY, V, dX, p, q):
    """Run a Hadamard kernel over whole matrices whose columns are adjacent, as `run_map` does."""
    shares = shares_for(V.size)
    if shares == 1:
        hadamard_share(kernel, dY, V, dX, p, q, 0, 1)
    else:
        for t in prange(shares):
            hadamard_share(kernel, dY, V, dX, p, q, t, shares)


@compiled(internal=True)
def map_share(kernel, X, Y, p, q, t, shares):
    """Run share t of a map."""
    x, y = view(X), view(Y)
    rows, columns = folded(X.shape, x, y, y)
    i, j, height, length = share(t, shares, rows, columns)
    call(kernel, (X.dtype.type(1), height, length, moved(x, i, j), moved(y, i, j), p, q))


@compiled(internal=True)
def hadamard_share(kernel, dY, V, dX, p, q, t, shares):
    """Run share t of a Hadamard product."""
    dy, v, dx = view(dY), view(V), view(dX)
    rows, columns = folded(V.shape, dy, v, dx)
    i, j, height, length = share(t, shares, rows, columns)
    pieces = moved(dy, i, j), moved(v, i, j), moved(dx, i, j)
    call(kernel, (V.dtype.type(1), height, length, *pieces, p, q))


@compiled(internal=True)
def folded(shape, A, B, C):
    """Return the shape as one long row where all three matrices lie in memory without gaps."""
    rows, columns = shape
    length = columns * A.col
    if A.row == length and B.row == length and C.row == length:
        return 1, rows * columns
    return rows, columns


@compiled(internal=True)
def shares_for(elements):
    """Return how many threads to use."""
    return thread_count() if elements >= SHARED_ELEMENTS else 1


@compiled(internal=True)
def share(t, shares, rows, columns):
    """Return row, column, height and length of share t: a run of the long row, or of rows."""
    if rows == 1:
        length = (columns // shares // GRAIN + 1) * GRAIN
        start = min(t * length, columns)
        return 0, start, 1, min(length, columns - start)
    start, stop = t * rows // shares, (t + 1) * rows // shares
    return start, 0, stop - start, columns
