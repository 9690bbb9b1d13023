"""Kernels made from a scalar function: Y = h(X) and dX = dY o h'(V), over rows of a matrix.

Products call them on the piece of a matrix that is at hand (`packing`, `blocks`), `run_map` and
`run_hadamard` on whole ones. They are called by address, so that any activation, the user's own
included, runs inside kernels that were compiled before it. LLVM vectorises the loops; h is
branch-free for that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numba import from_dtype, prange, types
from numba.core import config
from numpy.typing import NDArray

from fastlinear.kernels import loops
from fastlinear.kernels.apart import apart, array_span, is_whole
from fastlinear.kernels.by_address import native_address
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.lent import Lent
from fastlinear.kernels.memory import MATRIX, call, fence, itemsize, moved, row_of, view
from fastlinear.kernels.shape import row_shape, width
from fastlinear.kernels.sizes import (
    AHEAD_BYTES,
    BYPASS_BYTES,
    BYPASS_ROW_BYTES,
    GRAIN,
    INTERLEAVED,
    LONG_BYTES,
    SHARED_ELEMENTS,
    VECTOR_BYTES,
)
from fastlinear.kernels.threads import thread_count
from fastlinear.kernels.tile import collect, fetch_to_l1, room, store_past_caches


def map_kernel(h: Any) -> Any:
    """Return the kernel of Y_rc = h(X_rc); the columns of X and Y are adjacent; X may be Y."""

    def fill(one, operands, r, start, length, y, p, q):
        x = row_of(one, moved(operands[0], r, start), 0, length)
        for c in range(length):
            y[c] = h(x[c], p, q)

    fill, fill_several = fillers(fill)

    @compiled(internal=True)
    def kernel(one, rows, columns, X, Y, p, q, far):
        rows, columns = folded(itemsize(one), rows, columns, X, Y, Y)
        apart = X.data != Y.data
        through(fill, fill_several, one, rows, columns, (X,), Y, apart, p, q, far)

    return kernel


def both_kernel(h: Any, h_prime: Any) -> Any:
    """Return the kernel of Y_rc = h(X_rc) and V_rc = h'(X_rc), columns adjacent, all apart.

    What h and h' have in common LLVM computes once.
    """

    def fill(one, operands, r, start, length, y, p, q):
        X, V = operands
        x = row_of(one, moved(X, r, start), 0, length)
        v = row_of(one, moved(V, r, start), 0, length)
        for c in range(length):
            z = x[c]  # once: for all that LLVM knows, y and v may overlap x
            y[c] = h(z, p, q)
            v[c] = h_prime(z, p, q)

    fill, fill_several = fillers(fill)

    @compiled(internal=True)
    def kernel(one, rows, columns, X, V, Y, p, q, far):
        rows, columns = folded(itemsize(one), rows, columns, X, V, Y)
        through(fill, fill_several, one, rows, columns, (X, V), Y, True, p, q, far)

    return kernel


def hadamard_kernel(h_prime: Any) -> Any:
    """Return the kernel of dX_rc = dY_rc h'(V_rc), equation (18), columns adjacent, or in place."""

    def fill(one, operands, r, start, length, dx, p, q):
        dY, V = operands
        dy = row_of(one, moved(dY, r, start), 0, length)
        v = row_of(one, moved(V, r, start), 0, length)
        for c in range(length):
            dx[c] = dy[c] * h_prime(v[c], p, q)

    fill, fill_several = fillers(fill)

    @compiled(internal=True)
    def kernel(one, rows, columns, dY, V, dX, p, q, far):
        rows, columns = folded(itemsize(one), rows, columns, dY, V, dX)
        apart = dX.data != dY.data and dX.data != V.data
        through(fill, fill_several, one, rows, columns, (dY, V), dX, apart, p, q, far)

    return kernel


def fillers(fill: Any) -> tuple[Any, Any]:
    """Return the loop over a run of a row, compiled for one vector at a time and for several."""
    single = compiled(fill, internal=True, inline=True)
    return single, compiled(fill, internal=True, inline=True, interleaved=True)


@compiled(internal=True, inline=True)
def through(fill, fill_several, one, rows, columns, operands, result, apart, p, q, far):
    """Go through rows: all at once, or each long one from where its vectors lie whole in lines.

    The longest go to memory past the caches, if ``far``. What is not ``apart``, but in place, is
    taken as it lies: what overlaps would be computed from results.
    """
    item = itemsize(one)
    lanes = VECTOR_BYTES // item
    unit = INTERLEAVED * lanes if columns >= INTERLEAVED * lanes else lanes
    long = apart and columns * item >= LONG_BYTES
    past = long and far and columns * item >= BYPASS_ROW_BYTES
    for piece in range(2 * rows if long else 1):
        r, count, start, length = piece // 2, rows, 0, columns
        if long:
            y = moved(result, r, 0).data
            lead = -y % VECTOR_BYTES // item
            if piece % 2 == 0:
                count, length = 1, unit if lead > 0 else 0
            else:
                count, start, length = 1, lead, columns - lead
                if past and y % item == 0:
                    main = length - length % unit
                    past_caches(fill_several, one, operands, r, lead, main, y, p, q)
                    start, length = columns - unit, unit
        runs(fill, fill_several, one, r, count, start, length, unit, operands, result, apart, p, q)
    if past:
        fence()


@compiled(internal=True, inline=True)
def runs(fill, fill_several, one, r, count, start, length, unit, operands, result, apart, p, q):
    """Go through some rows: whole units of vectors, and a last one that overlaps the others.

    Otherwise up to a vector less one of elements would be computed one by one.
    """
    lanes = VECTOR_BYTES // itemsize(one)
    rest = length % unit if apart and length > unit else 0
    for i in range(r, r + count):
        for last in range(2 if rest > 0 else 1):
            j, n = (start + length - unit, unit) if last else (start, length - rest)
            y = row_of(one, moved(result, i, j), 0, n)
            if unit > lanes:
                fill_several(one, operands, i, j, n, y, p, q)
            else:
                fill(one, operands, i, j, n, y, p, q)


@compiled(internal=True, inline=True)
def past_caches(fill_several, one, operands, r, start, length, y, p, q):
    """Fill a run of whole vectors of the row at address y, several vectors at a time."""
    shape = row_shape(one, INTERLEAVED, VECTOR_BYTES, False)
    unit = width(shape)
    for j in range(start, start + length, unit):
        for operand in operands:
            fetch_to_l1(shape, moved(operand, r, j).data + AHEAD_BYTES, 0)
        several = room(shape)
        fill_several(one, operands, r, j, unit, several, p, q)
        store_past_caches(collect(shape, several), y + j * itemsize(one), 0, 0)


@compiled(internal=True)
def folded(item, rows, columns, A, B, C):
    """Return the shape as one long row where all three matrices lie in memory without gaps."""
    length = columns * item
    if A.row == length and B.row == length and C.row == length:
        return 1, rows * columns
    return rows, columns


@compiled
def kept_derivative(v, p, q):
    """H' where the forward pass kept h'(Z) itself."""
    return v


@cache
def map_address(h: Any, dtype: np.dtype[Any]) -> int:
    """Return the address of the map kernel of h for a dtype, compiled on first use."""
    return _address(map_kernel(h), 2, dtype)


@cache
def both_address(h: Any, h_prime: Any, dtype: np.dtype[Any]) -> int:
    """Return the address of the kernel of h and h' for a dtype, compiled on first use."""
    return _address(both_kernel(h, h_prime), 3, dtype)


@cache
def hadamard_address(h_prime: Any, dtype: np.dtype[Any]) -> int:
    """Return the address of the Hadamard kernel of h' for a dtype, compiled on first use."""
    return _address(hadamard_kernel(h_prime), 3, dtype)


def _address(kernel: Any, matrices: int, dtype: np.dtype[Any]) -> int:
    scalar = from_dtype(dtype)
    return native_address(kernel, *kernel_types(scalar, matrices))


def kernel_types(scalar: Any, matrices: int) -> tuple[Any, ...]:
    """Return the types that the kernel of so many matrices takes."""
    size = types.intp
    return scalar, size, size, *[MATRIX] * matrices, scalar, scalar, types.boolean


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
        map_of(h, X.dtype, p, q)(rows(X), Y)


def map_of(
    h: Any, dtype: np.dtype[Any], p: float, q: float, checked: bool = False
) -> Callable[..., bool]:
    """Return ``run(X, Y)``: `run_map` with the kernel of h and its parameters."""
    return _bound(map_entry(dtype), map_address(h, dtype), checked, p, q, dtype)


def hadamard_of(
    h_prime: Any, dtype: np.dtype[Any], p: float, q: float, checked: bool = False
) -> Callable[..., bool]:
    """Return ``run(dY, V, dX)``: `run_hadamard` with the kernel of h' and its parameters."""
    return _bound(hadamard_entry(dtype), hadamard_address(h_prime, dtype), checked, p, q, dtype)


def _bound(
    entry: Callable[..., bool], kernel: int, checked: bool, p: float, q: float, dtype: np.dtype[Any]
) -> Callable[..., bool]:
    """Bind what stays the same from call to call in two arrays: four numbers take 0.03 us more."""
    return partial(entry, np.array([kernel, checked], np.int64), np.array([p, q], dtype))


@cache
def map_entry(dtype: np.dtype[Any]) -> Callable[..., bool]:
    """Return `run_map` for a dtype; see `StridedKernel.entry`."""
    return run_map.entry(*_held(dtype), Lent(dtype, 2), Lent(dtype, 2, filled=True))


@cache
def hadamard_entry(dtype: np.dtype[Any]) -> Callable[..., bool]:
    """Return `run_hadamard` for a dtype; see `StridedKernel.entry`."""
    inputs = [Lent(dtype, 2)] * 2
    return run_hadamard.entry(*_held(dtype), *inputs, Lent(dtype, 2, filled=True))


def _held(dtype: np.dtype[Any]) -> tuple[Lent, Lent]:
    """Return the types of what `_bound` binds."""
    return Lent(np.dtype(np.int64), 1), Lent(dtype, 1)


@compiled(parallel=True, any_layout=True)
def run_map(held, parameters, X, Y):
    """Run a map kernel over whole matrices, in parallel over shares; Y's columns are adjacent.

    ``held`` is the kernel's address and whether arrays are to be checked, ``parameters`` p and q.
    Returns whether X's columns are adjacent too and, if checked, Y can take the result; nothing is
    done otherwise. Unchecked, Y may be X.
    """
    S, N = X.shape
    kernel, checked, p, q = held[0], held[1] != 0, parameters[0], parameters[1]
    if not columns_adjacent(X):
        return False
    if checked and not (is_whole(Y, S, N) and apart(array_span(Y), array_span(X))):
        return False
    shares = shares_for(X.size)
    if shares == 1:
        map_share(kernel, X, Y, p, q, 0, 1)
    else:
        for t in prange(shares):
            map_share(kernel, X, Y, p, q, t, shares)
    return True


@compiled(parallel=True, any_layout=True)
def run_hadamard(held, parameters, dY, V, dX):
    """Run a Hadamard kernel over whole matrices, as `run_map` does."""
    S, N = V.shape
    kernel, checked, p, q = held[0], held[1] != 0, parameters[0], parameters[1]
    if not (columns_adjacent(dY) and columns_adjacent(V)):
        return False
    if checked:
        out = array_span(dX)
        apart_from_inputs = apart(out, array_span(dY)) and apart(out, array_span(V))
        if not (dY.shape == V.shape and is_whole(dX, S, N) and apart_from_inputs):
            return False
    shares = shares_for(V.size)
    if shares == 1:
        hadamard_share(kernel, dY, V, dX, p, q, 0, 1)
    else:
        for t in prange(shares):
            hadamard_share(kernel, dY, V, dX, p, q, t, shares)
    return True


@compiled(internal=True)
def columns_adjacent(A):
    """Return whether a matrix's columns are adjacent, as they are in one without elements."""
    return view(A).col == A.itemsize or A.size == 0


@compiled(internal=True)
def map_share(kernel, X, Y, p, q, t, shares):
    """Run share t of a map."""
    x, y = view(X), view(Y)
    rows, columns = folded(X.itemsize, X.shape[0], X.shape[1], x, y, y)
    i, j, height, length = share(t, shares, rows, columns)
    far = Y.size * X.itemsize > BYPASS_BYTES
    pieces = moved(x, i, j), moved(y, i, j)
    call(kernel, (X.dtype.type(1), height, length, *pieces, p, q, far))


@compiled(internal=True)
def hadamard_share(kernel, dY, V, dX, p, q, t, shares):
    """Run share t of a Hadamard product."""
    dy, v, dx = view(dY), view(V), view(dX)
    rows, columns = folded(V.itemsize, V.shape[0], V.shape[1], dy, v, dx)
    i, j, height, length = share(t, shares, rows, columns)
    pieces = moved(dy, i, j), moved(v, i, j), moved(dx, i, j)
    far = dX.size * V.itemsize > BYPASS_BYTES
    call(kernel, (V.dtype.type(1), height, length, *pieces, p, q, far))


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
