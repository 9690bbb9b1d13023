"""A whole network as one compiled function, for a user's own nopython code.

`network` chains stages; a stage is one layer: Y = h(X W^T + b), or Y = h(X), or softmax. What the
stages compute is fixed when they are chained; weights, widths and the parameters p and q of h come
with each call, so that other weights compile nothing.

The function is serial and keeps nothing, so any number of threads may run it at once. Between the
layers, results rest on the stack. The product itself is called by address; only the loops over h
become part of the caller. Rows are summed in the documented order, hence the bits of `predict`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from fastlinear.kernels import sizes
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import MATRIX, Matrix, call, itemsize, moved, row_of, transposed
from fastlinear.kernels.product import (
    BLOCK,
    PARTIAL_ROWS,
    PITCH,
    PLAIN,
    RESIDENT_BYTES,
    STREAM_ROWS,
    STREAM_STEPS,
    STRIP_BYTES,
    TALL,
    VECTOR_BYTES,
    VECTORS,
    Fused,
    Product,
    block_product,
    product_address,
)
from fastlinear.kernels.reductions import softmax_rows
from fastlinear.kernels.shared import shared
from fastlinear.kernels.tile import row_shape

ROW_BYTES = sizes.NETWORK_ROW_BYTES
STACK_BYTES = sizes.NETWORK_STACK_BYTES


class Plane(NamedTuple):
    """A 2-D array without its owner; a 1-D array is a plane of one row."""

    rows: int
    columns: int
    at: Matrix


class Layer(NamedTuple):
    """What one stage takes at run time; W and b have no elements where there are none."""

    W: Plane
    b: Plane
    p: Any
    q: Any


PLANE = types.NamedTuple((types.intp, types.intp, MATRIX), Plane)


# ---- arrays without owners -------------------------------------------------------------------


@intrinsic
def plane(typingctx, array):
    """Return the plane of a 1-D or 2-D array."""
    if not (isinstance(array, types.Array) and array.ndim in (1, 2)):
        raise TypingError(f"expected an array of one or two dimensions, got {array}")

    def codegen(context, builder, signature, args):
        return _plane(context, builder, array, args[0])

    return PLANE(array), codegen


@intrinsic
def layers_of(typingctx, params, x):
    """Return ``params`` as a tuple of `Layer`, all in the dtype of the array ``x``.

    The arrays are borrowed: none is counted, so that threads that share them never wait for each
    other.
    """
    scalar = x.dtype
    if not isinstance(scalar, types.Float):
        raise TypingError(f"x: expected float32 or float64, got {scalar}")
    for layer in params:
        W, b, p, q = layer
        if {W.dtype, b.dtype, p, q} != {scalar}:
            raise TypingError(f"x: expected {W.dtype}, the dtype of params, got {scalar}")
        if b.layout != "C":
            raise TypingError(f"params: expected contiguous biases, got {b}")
    layer = types.NamedTuple((PLANE, PLANE, scalar, scalar), Layer)
    result = types.UniTuple(layer, len(params))

    def codegen(context, builder, signature, args):
        values = []
        for i, (W, b, _, _) in enumerate(params):
            parts = cgutils.unpack_tuple(builder, builder.extract_value(args[0], i))
            parts[0] = _plane(context, builder, W, parts[0])
            parts[1] = _plane(context, builder, b, parts[1])
            values.append(context.make_tuple(builder, layer, parts))
        return context.make_tuple(builder, result, values)

    return result(params, x), codegen


def _plane(context: Any, builder: Any, array: Any, value: Any) -> Any:
    held = context.make_array(array)(context, builder, value)
    intp = context.get_value_type(types.intp)
    shape = [intp(1), *cgutils.unpack_tuple(builder, held.shape)][-2:]
    strides = [intp(0), *cgutils.unpack_tuple(builder, held.strides)][-2:]
    data = builder.ptrtoint(held.data, intp)
    at = context.make_tuple(builder, MATRIX, [data, *strides])
    return context.make_tuple(builder, PLANE, [*shape, at])


@intrinsic
def borrow_bytes(typingctx, nbytes):
    """Return the address of scratch memory, on the stack while that is sensible.

    It lives until the compiled function that asked for it returns, and must go through
    `return_bytes` before that.
    """

    def codegen(context, builder, signature, args):
        intp = args[0].type
        address = cgutils.alloca_once(builder, intp)
        small = builder.icmp_signed("<=", args[0], intp(STACK_BYTES))
        with builder.if_else(small) as (on_stack, on_heap):
            with on_stack:
                memory = builder.alloca(cgutils.int8_t, args[0])
                memory.align = VECTOR_BYTES
                builder.store(builder.ptrtoint(memory, intp), address)
            with on_heap:
                memory = context.nrt.allocate(builder, args[0])
                builder.store(builder.ptrtoint(memory, intp), address)
        return builder.load(address)

    return types.intp(types.intp), codegen


@intrinsic
def return_bytes(typingctx, address, nbytes):
    """Give back what `borrow_bytes` lent."""

    def codegen(context, builder, signature, args):
        address, nbytes = args
        with cgutils.if_unlikely(
            builder, builder.icmp_signed(">", nbytes, nbytes.type(STACK_BYTES))
        ):
            context.nrt.free(builder, builder.inttoptr(address, cgutils.voidptr_t))
        return context.get_dummy_value()

    return types.none(types.intp, types.intp), codegen


# ---- the product of few rows ------------------------------------------------------------------


@compiled(internal=True)
def affine(one, S, N, M, X, W, bias, Y):
    """Y = X W^T + b where W lies in memory as M x N: nothing is copied, nothing allocated.

    X, Y any rows; Y's columns adjacent; bias the address of N elements or 0.
    """
    item = itemsize(one)
    tile = row_shape(one, VECTORS, VECTOR_BYTES, False, False)
    none = Fused(0, 0, 0, PLAIN, Matrix(0, 0, 0), one, one)
    streamed = S <= STREAM_ROWS and M * N * item > RESIDENT_BYTES
    chunk = STREAM_STEPS if streamed else BLOCK
    nbytes = PARTIAL_ROWS * PITCH if streamed else 0
    partial = Matrix(borrow_bytes(nbytes), PITCH, item)
    for n in range(0, N, STRIP_BYTES // item):
        columns = min(STRIP_BYTES // item, N - n)
        for m in range(0, max(M, 1), BLOCK):
            terms = min(BLOCK, M - m)
            end = bias + n * item if bias != 0 and m + BLOCK >= M else 0
            Xm, Wmn, Yn = moved(X, 0, m), moved(transposed(W), m, n), moved(Y, 0, n)
            block_product(
                tile, one, S, columns, terms, Xm, Wmn, partial, chunk, Yn, m > 0, end, 0, none, none.V
            )  # fmt: skip
    return_bytes(partial.data, nbytes)


affine_address = shared(
    affine, lambda scalar: (scalar, *[types.intp] * 3, MATRIX, MATRIX, types.intp, MATRIX)
)


@compiled(internal=True)
def linear(one, rows, layer, X, Y):
    """Y = X W^T + b, equation (2), for any layout of W; Y's columns are adjacent."""
    N, M, W = layer.W
    bias = layer.b.at.data if layer.b.columns > 0 else 0
    if W.row == itemsize(one) or N == 1:
        call(affine_address(one), (one, rows, N, M, X, W, bias, Y))
    else:
        none = Fused(0, 0, 0, PLAIN, Matrix(0, 0, 0), one, one)
        task = Product(rows, N, M, X, transposed(W), Y, bias, none)
        call(product_address(one), (one, task))


# ---- stages ----------------------------------------------------------------------------------


@cache
def map_stage(h: Any) -> Any:
    """Return the stage Y = h(X W^T + b), or Y = h(X) where W has no rows; ``h`` None: no h."""

    @compiled(internal=True)
    def stage(one, rows, columns, layer, X, Y):
        if layer.W.rows > 0:
            linear(one, rows, layer, X, Y)
        else:
            copy(one, rows, columns, X, Y)
        in_place(one, rows, columns, Y, layer.p, layer.q)

    in_place = nothing_in_place if h is None else map_in_place(h)
    return stage


def map_in_place(h: Any) -> Any:
    """Return the kernel of Y_rc = h(Y_rc); the columns of Y are adjacent."""

    @compiled(internal=True)
    def kernel(one, rows, columns, Y, p, q):
        for r in range(rows):
            y = row_of(one, Y, r, columns)
            for c in range(columns):
                y[c] = h(y[c], p, q)

    return kernel


@compiled(internal=True)
def nothing_in_place(one, rows, columns, Y, p, q):
    """Y = Y."""


@compiled(internal=True)
def softmax_stage(one, rows, columns, layer, X, Y):
    """Y_r = softmax(X_r); the columns of X are copied first where they are not adjacent."""
    if X.col == itemsize(one):
        for r in range(rows):
            softmax_row(one, columns, moved(X, r, 0), moved(Y, r, 0))
    else:
        nbytes = columns * itemsize(one)
        T = Matrix(borrow_bytes(nbytes), 0, itemsize(one))
        for r in range(rows):
            copy(one, 1, columns, moved(X, r, 0), T)
            softmax_row(one, columns, T, moved(Y, r, 0))
        return_bytes(T.data, nbytes)


@compiled(internal=True)
def softmax_row(one, columns, X, Y):
    """Y = softmax(X), one row of each, columns adjacent."""
    x, y = row_of(one, X, 0, columns), row_of(one, Y, 0, columns)
    softmax_rows(0, 1, x.reshape(1, columns), y.reshape(1, columns))


@compiled(internal=True)
def copy(one, rows, columns, X, Y):
    """Y = X, any strides."""
    for r in range(rows):
        for c in range(columns):
            row_of(one, moved(Y, r, c), 0, 1)[0] = row_of(one, moved(X, r, c), 0, 1)[0]


# ---- the chain -------------------------------------------------------------------------------


@cache
def network(stages: tuple[Any, ...]) -> Any:
    """Return the function fn(params, x[, out]) of these stages: one for each sequence of them."""
    run = _chain(stages)

    @compiled
    def fn(params, x, out=None):
        layers, X = layers_of(params, x), plane(x)
        columns = out_columns(layers, X.columns)
        if out is None:
            result = np.empty(x.shape[:-1] + (columns,), x.dtype)  # noqa: RUF005  Numba's way
        else:
            result = out
        check_dtype(x, result)
        Y = plane(result)
        if Y.rows != X.rows or Y.columns != columns:
            raise ValueError("out: expected the shape of the result")
        one = x.dtype.type(1)
        pitch = aligned(hidden_width(layers, X.columns) * itemsize(one))
        rows = rows_at_once(X.rows, pitch)
        nbytes = 2 * rows * pitch
        P = Matrix(borrow_bytes(nbytes), pitch, itemsize(one))
        Q = moved(P, rows, 0)
        for i in range(0, X.rows, rows):
            height = min(rows, X.rows - i)
            run(one, height, X.columns, layers, moved(X.at, i, 0), moved(Y.at, i, 0), P, Q)
        return_bytes(P.data, nbytes)
        return result

    return fn


def _chain(stages: tuple[Any, ...]) -> Any:
    """Return the function that runs the stages; P and Q take what lies between them in turn."""
    first = stages[0]

    @compiled(internal=True)
    def last(one, rows, columns, layers, X, Y, P, Q):
        layer = layers[0]
        target = Y if Y.col == itemsize(one) else P
        first(one, rows, columns, layer, X, target)
        if Y.col != itemsize(one):
            copy(one, rows, width(layer, columns), P, Y)

    @compiled(internal=True)
    def run(one, rows, columns, layers, X, Y, P, Q):
        layer = layers[0]
        first(one, rows, columns, layer, X, P)
        rest(one, rows, width(layer, columns), layers[1:], P, Y, Q, P)

    if len(stages) == 1:
        return last
    rest = _chain(stages[1:])
    return run


@intrinsic
def check_dtype(typingctx, x, out):
    """Refuse to compile unless ``out`` is a writeable array of the dtype of ``x``."""
    if not isinstance(out, types.Array) or out.dtype != x.dtype or not out.mutable:
        raise TypingError(f"out: expected a writeable array of {x.dtype}, got {out}")

    def codegen(context, builder, signature, args):
        return context.get_dummy_value()

    return types.none(x, out), codegen


@compiled(internal=True)
def width(layer, columns):
    """Return how many columns a layer makes of ``columns``."""
    return layer.W.rows if layer.W.rows > 0 else columns


@compiled(internal=True)
def out_columns(layers, columns):
    """Return how many columns the last layer makes; raise where a shape does not fit."""
    for layer in layers:
        N, M, _ = layer.W
        if N > 0 and columns != M:
            raise ValueError("x or params: the number of columns is not that of the weight")
        if N > 0 and layer.b.columns != N and layer.b.columns != 0:
            raise ValueError("params: the number of biases is not that of the rows of the weight")
        columns = width(layer, columns)
    return columns


@compiled(internal=True)
def hidden_width(layers, columns):
    """Return the width of the widest result."""
    widest = 0
    for layer in layers:
        columns = width(layer, columns)
        widest = max(widest, columns)
    return widest


@compiled(internal=True)
def aligned(nbytes):
    """Return ``nbytes`` rounded up to whole vectors."""
    return (nbytes + VECTOR_BYTES - 1) // VECTOR_BYTES * VECTOR_BYTES


@compiled(internal=True)
def rows_at_once(rows, pitch):
    """Return how many rows go through all layers together: whole tiles, if that many fit."""
    fitting = max(1, ROW_BYTES // max(pitch, 1))
    if fitting > TALL:
        fitting -= fitting % TALL
    return max(1, min(rows, fitting))


@compiled
def prepare(one):
    """Compile or load the shared kernels for a dtype, which a cached caller can't do by itself."""
    return affine_address(one) + product_address(one)
