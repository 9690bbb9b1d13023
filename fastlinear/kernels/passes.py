"""The forward and the backward pass of a layer: its activation fused in, a parallel launch or two.

What stays the same from call to call (parameters, gradients, activation) is brought to one place in
memory once, by `hold`: unpacking it anew took a third of the forward pass of one small sample.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype, prange, types

from fastlinear.kernels.apart import apart, array_span, is_whole, span_of
from fastlinear.kernels.elementwise import columns_adjacent, share, shares_for
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.lent import Lent
from fastlinear.kernels.memory import (
    MATRIX,
    Matrix,
    address_of,
    call,
    itemsize,
    loader,
    moved,
    store_value,
    transposed,
    view,
)
from fastlinear.kernels.packing import FORM_A, FORM_B, FORWARD, PLAIN, Fused
from fastlinear.kernels.scratch import borrow_bytes, return_bytes
from fastlinear.kernels.sharing import (
    no_sum,
    run_shared,
    run_shares,
    threads_for,
    together_address,
)
from fastlinear.kernels.sizes import FORMED_BYTES, STACK_BYTES
from fastlinear.kernels.tiled import (
    bias_sum,
    forward_sum,
    input_sum,
    row_view,
    start_of,
    weight_sum,
)


class HeldLayer(NamedTuple):
    """What the passes take of a layer; addresses are 0 for what is not there."""

    N: int
    M: int
    W: Matrix
    bias: int
    dW: Matrix
    db: Matrix
    h: int
    both: int
    hadamard: int
    p: Any
    q: Any


def layer_type(scalar: Any) -> Any:
    """Return the type of a HeldLayer for a dtype."""
    size = types.intp
    fields = (size, size, MATRIX, size, MATRIX, MATRIX, size, size, size, scalar, scalar)
    return types.NamedTuple(fields, HeldLayer)


load_layer = loader(layer_type)

WORDS = len(HeldLayer._fields) + 3 * (len(Matrix._fields) - 1)
"""Elements of the int64 array that holds a HeldLayer."""

HELD = np.dtype(np.int64)
"""Its dtype."""


@compiled(any_layout=True)
def hold(W, b, dW, db, h, both, hadamard, p, q, held):
    """Write a HeldLayer to ``held``, an int64 array of WORDS elements: its arrays and activation.

    h, both and hadamard are addresses of kernels or 0. The arrays, or None, must live and stay
    where they are as long as ``held`` is used. Returns whether b is None or has N elements without
    gaps.
    """
    N, M = W.shape
    if address_of(b) != 0 and (b.size != N or (N > 1 and b.strides[0] != b.itemsize)):
        return False
    dw = view(dW) if dW.size > 0 else Matrix(0, 0, 0)
    layer = HeldLayer(N, M, view(W), start_of(b), dw, row_view(db), h, both, hadamard, p, q)
    store_value(address_of(held), layer)
    return True


@cache
def hold_entry(dtype: np.dtype[Any]) -> Callable[..., bool]:
    """Return `hold` for a dtype; see `StridedKernel.entry`."""
    matrix, row, scalar = Lent(dtype, 2), Lent(dtype, 1), from_dtype(dtype)
    arrays = matrix, row, matrix, row
    return hold.entry(*arrays, *[types.intp] * 3, scalar, scalar, Lent(HELD, 1))


@compiled(any_layout=True)
def forward(held, X, V, A):
    """A = h(X W^T + b), and V = h'(X W^T + b) unless V has no elements.

    Returns whether X has M columns and A can take the result; nothing is done otherwise.
    """
    one = X.dtype.type(1)
    layer = load_layer(one, address_of(held))
    fits = X.shape[1] == layer.M and is_whole(A, X.shape[0], layer.N)
    out = array_span(A)
    if not (fits and apart(out, array_span(X)) and apart_from_layer(out, layer, itemsize(one))):
        return False
    run_shared(one, output_sum(X, V, A, layer))
    return True


@compiled(internal=True)
def output_sum(X, V, A, layer):
    """Return A, and V if it has elements, as a product."""
    fused = Fused(layer.h, layer.both if V.size > 0 else 0, 0, FORWARD, view(V), layer.p, layer.q)
    S, N, M = X.shape[0], layer.N, layer.M
    return forward_sum(S, N, M, view(X), layer.W, layer.bias, view(A), fused)


@cache
def forward_entry(dtype: np.dtype[Any]) -> Callable[..., bool]:
    """Return `forward` for a dtype; see `StridedKernel.entry`."""
    return forward.entry(Lent(HELD, 1), *[Lent(dtype, 2)] * 2, Lent(dtype, 2, filled=True))


@compiled(internal=True, inline=True)
def apart_from_layer(out, layer, item):
    """Return whether a span lies apart from all arrays of a layer."""
    N, M = layer.N, layer.M
    W, dW = span_of(layer.W, N, M, item), span_of(layer.dW, N, M, item)
    b, db = Matrix(layer.bias, 0, item), layer.db
    vectors = apart(out, span_of(b, 1, N, item)) and apart(out, span_of(db, 1, N, item))
    return vectors and apart(out, W) and apart(out, dW)


@compiled(parallel=True, any_layout=True)
def backward(held, dA, V, X, dX):
    """dZ = dA o h'(V), then dW, db and dX from dZ, which is formed once, or where it is read.

    dX is skipped where it is None, dW and db where they had no elements for `hold`. Returns whether
    the shapes go together, dA's columns are adjacent where dZ is to be formed, and dX can take the
    result; nothing is done otherwise.
    """
    one = dA.dtype.type(1)
    layer = load_layer(one, address_of(held))
    if not fit(dA, V, X, dX, layer):
        return False
    products = dX.size > 0 or layer.dW.data != 0
    threads = threads_for(itemsize(one), layer.N, layer.M if products else 1, X.shape[0])
    nbytes = dA.size * itemsize(one)
    if layer.hadamard == 0 or nbytes > FORMED_BYTES:
        nbytes = 0
    scratch = borrow_bytes(nbytes, STACK_BYTES)
    dZ = scratch if nbytes > 0 else 0
    tasks = gradient_sums(one, dA, V, dZ, X, dX, layer)
    forming_threads = min(threads, shares_for(dA.size)) if dZ != 0 else 0
    if forming_threads > 1:
        for t in prange(forming_threads):
            form_share(one, dA, V, dZ, load_layer(one, address_of(held)), t, forming_threads)
    elif forming_threads == 1:
        form_share(one, dA, V, dZ, layer, 0, 1)
    if threads > 1:
        call(together_address(one), (one, tasks, threads))
    else:
        run_shares(one, tasks, 0, 1, 0)
    return_bytes(scratch, nbytes, STACK_BYTES)
    return True


@cache
def backward_entry(dtype: np.dtype[Any]) -> Callable[..., bool]:
    """Return `backward` for a dtype; see `StridedKernel.entry`."""
    return backward.entry(Lent(HELD, 1), *[Lent(dtype, 2)] * 3, Lent(dtype, 2, filled=True))


@compiled(internal=True, inline=True)
def fit(dA, V, X, dX, layer):
    """Return whether `backward` can take these arrays."""
    S, M = X.shape
    formed = V.size == 0 or (V.shape == dA.shape and columns_adjacent(dA))
    fits = dA.shape == (S, layer.N) and M == layer.M and formed
    if not fits or address_of(dX) == 0:
        return fits
    out = array_span(dX)
    inputs = apart(out, array_span(dA)) and apart(out, array_span(V)) and apart(out, array_span(X))
    return is_whole(dX, S, M) and inputs and apart_from_layer(out, layer, dX.itemsize)


@compiled(internal=True)
def form_share(one, dA, V, dZ, layer, t, threads):
    """Form share t of dZ = dA o h'(V), without gaps from address dZ on."""
    (S, N), item = dA.shape, itemsize(one)
    i, j, rows, columns = share(t, threads, S, N)
    formed = moved(Matrix(dZ, N * item, item), i, j)
    operands = moved(view(dA), i, j), moved(view(V), i, j), formed
    call(layer.hadamard, (one, rows, columns, *operands, layer.p, layer.q, False))


@compiled(internal=True)
def gradient_sums(one, dA, V, dZ, X, dX, layer):
    """Return dW, db and dX as products of the dZ at that address, or, if 0, formed where read."""
    (S, M), N, item = X.shape, layer.N, itemsize(one)
    dY, h, p, q = view(dA), layer.hadamard, layer.p, layer.q
    if dZ != 0:
        dY, h = Matrix(dZ, N * item, item), 0
    weight = bias = into = no_sum(one)
    if layer.dW.data != 0:
        fused = forming(h, FORM_A, transposed(view(V)), p, q)
        weight = weight_sum(S, N, M, dY, view(X), layer.dW, fused)
    if layer.db.data != 0:
        bias = bias_sum(one, S, N, dY, layer.db, forming(h, FORM_B, view(V), p, q))
    if dX.size > 0:
        fused = forming(h, FORM_A, view(V), p, q)
        into = input_sum(S, N, M, dY, layer.W, view(dX), fused)
    return weight, bias, into


@compiled(internal=True)
def forming(hadamard, operand, V, p, q):
    """Return the instruction to form an operand from dA, unless there is no h'."""
    return Fused(0, 0, hadamard, operand if hadamard != 0 else PLAIN, V, p, q)
