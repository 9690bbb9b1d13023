"""A whole network as one compiled function, for a user's own nopython code.

`network` chains stages; a stage is one layer: Y = h(X W^T + b), or Y = h(X), or softmax. What the
stages compute is fixed when they are chained; weights, widths and the parameters p and q of h come
with each call, so that other weights compile nothing.

The function is serial and keeps nothing, so any number of threads may run it at once. Between the
layers, results rest on the stack. The product of one sample and the loops over h become part of the
caller; that of several samples is called by address. Rows are summed in the documented order, hence
the bits of `predict`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import types

from fastlinear.kernels import sizes
from fastlinear.kernels.along import along
from fastlinear.kernels.borrowed import (
    layers_of,
    output_plane,
    owned,
    plane,
    unowned,
)
from fastlinear.kernels.by_address import by_address
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import MATRIX, Matrix, at, call, itemsize, moved, row_of, up_to
from fastlinear.kernels.rank_update import load_operand, rank_update, row_offsets
from fastlinear.kernels.reductions import softmax_rows
from fastlinear.kernels.scratch import borrow_bytes, return_bytes
from fastlinear.kernels.shape import row_shape, with_rows
from fastlinear.kernels.shape import width as tile_width
from fastlinear.kernels.tile import add, collect, load, room, spread, store, zeros

BLOCK, (TALL, _, LOW, ONE) = sizes.BLOCK, sizes.ROWS
VECTORS, VECTOR_BYTES = sizes.VECTORS, sizes.VECTOR_BYTES
_, _, _, ONE_VECTORS = sizes.WIDTHS
PANELS = tuple(range(0, max(VECTORS, ONE_VECTORS) * VECTOR_BYTES, VECTORS * VECTOR_BYTES))
ROW_BYTES, STACK_BYTES = sizes.NETWORK_ROW_BYTES, sizes.NETWORK_STACK_BYTES


# ---- the product of few rows ------------------------------------------------------------------


@compiled(internal=True)
def affine(one, S, N, M, X, W, bias, Y):
    """Y = X W^T + b, equation (2), where W lies in memory as M x N; Y's columns are adjacent.

    Nothing is copied or allocated. ``bias`` is the address of N elements or 0.
    """
    shape = row_shape(one, VECTORS, VECTOR_BYTES, False)
    along(shape, N, panel, (one, S, M, X, W, bias, Y))


@compiled(internal=True, inline=True)
def panel(shape, left, j, rest):
    """Compute the ``left`` columns from j on, a few rows at a time."""
    one, S, M, X, W, bias, Y = rest
    W, bias = moved(W, j, 0), at(bias, j * itemsize(one))
    s = 0
    while s < S:
        Xs, y = moved(X, s, 0), moved(Y, s, j).data
        if S - s >= TALL:
            store(tile_sum(with_rows(shape, TALL), left, M, Xs, W, bias), y, Y.row, left)
            s += TALL
        elif S - s >= LOW:
            store(tile_sum(with_rows(shape, LOW), left, M, Xs, W, bias), y, Y.row, left)
            s += LOW
        else:
            store(tile_sum(with_rows(shape, ONE), left, M, Xs, W, bias), y, Y.row, left)
            s += ONE


@compiled(internal=True, inline=True)
def tile_sum(shape, left, M, X, W, bias):
    """Return a tile of X W^T + b; all its blocks are added in registers."""
    total = block_sum(shape, left, min(BLOCK, M), X, W)
    for m in range(BLOCK, M, BLOCK):
        terms = min(BLOCK, M - m)
        total = add(total, block_sum(shape, left, terms, moved(X, 0, m), moved(W, 0, m)))
    if bias != 0:
        total = add(total, load(with_rows(shape, 1), bias, 0, left))
    return total


@compiled(internal=True, inline=True)
def block_sum(shape, left, terms, X, W):
    """Return one block's sum, term by term, of the tile."""
    x, w, block = X.data, W.data, zeros(shape)
    rows = row_offsets(shape, X.row)
    for _ in range(terms // 2):  # LLVM leaves it at one: 0.238 us for (17, 64, 64, 6), not 0.227
        block = rank_update(block, load_operand(shape, w, PANELS, W.row, left), x, rows, X.col)
        x += X.col
        w += W.col
        block = rank_update(block, load_operand(shape, w, PANELS, W.row, left), x, rows, X.col)
        x += X.col
        w += W.col
    if terms % 2 == 1:
        block = rank_update(block, load_operand(shape, w, PANELS, W.row, left), x, rows, X.col)
    return block


affine_address = by_address(
    affine, lambda scalar: (scalar, *[types.intp] * 3, MATRIX, MATRIX, types.intp, MATRIX)
)


@compiled(internal=True, inline=True)
def linear(one, rows, layer, X, Y):
    """Y = X W^T + b, equation (2); Y's columns are adjacent. W in another order is copied first."""
    N, M, W = layer.W
    item = itemsize(one)
    nbytes = 0 if W.row == item else N * M * item
    if nbytes > 0:
        T = Matrix(borrow_bytes(nbytes, STACK_BYTES), item, N * item)
        copy(one, N, M, W, T)
        W = T
    call(affine_address(one), (one, rows, N, M, X, W, bias_of(layer), Y))
    if nbytes > 0:
        return_bytes(W.data, nbytes, STACK_BYTES)


@compiled(internal=True, inline=True)
def bias_of(layer):
    """Return the address of a layer's bias, or 0."""
    return layer.b.at.data if layer.b.columns > 0 else 0


@cache
def row_map(h: Any) -> Any:
    """Return the function Y = h(X W^T + b) of one sample, where W lies in memory as M x N.

    It becomes part of its caller, and h is applied in registers: (17, 64, 64, 6) with ReLU takes
    0.193 us, and 0.207 with a product called by address and h in a loop of its own. ``h`` may be
    None, for the product alone.
    """

    @compiled(internal=True, inline=True)
    def compute(shape, left, j, rest):
        one, M, X, W, bias, Y, p, q = rest
        total = tile_sum(shape, left, M, X, moved(W, j, 0), at(bias, j * itemsize(one)))
        if h is not None:
            z, y = spread(total), room(shape)
            for c in range(tile_width(shape)):
                y[c] = h(z[c], p, q)
            total = collect(shape, y)
        store(total, moved(Y, 0, j).data, Y.row, left)

    @compiled(internal=True, inline=True)
    def row(one, layer, X, Y):
        N, M, W = layer.W
        shape = row_shape(one, ONE_VECTORS, VECTOR_BYTES, False)
        along(shape, N, compute, (one, M, X, W, bias_of(layer), Y, layer.p, layer.q))

    return row


# ---- stages ----------------------------------------------------------------------------------


@cache
def map_stage(h: Any) -> Any:
    """Return the stage Y = h(X W^T + b), or Y = h(X) where W has no rows.

    Z takes what h is applied to: apart from Y, because LLVM would make conditional stores of a loop
    in place, and the next layer would wait for them.
    """
    row = row_map(h)

    @compiled(internal=True, inline=True, interleaved=True)
    def stage(one, rows, columns, layer, X, Z, Y):
        if is_row(one, rows, layer):
            row(one, layer, X, Y)
            return
        if layer.W.rows > 0:
            linear(one, rows, layer, X, Z)
        else:
            copy(one, rows, columns, X, Z)
        for r in range(rows):
            z = row_of(one, Z, r, width(layer, columns))
            y = row_of(one, Y, r, width(layer, columns))
            for c in range(z.size):
                y[c] = h(z[c], layer.p, layer.q)

    return stage


@compiled(internal=True, inline=True)
def is_row(one, rows, layer):
    """Return whether `row_map` serves: one sample, and a weight as layers hold it."""
    return rows == 1 and layer.W.rows > 0 and layer.W.at.row == itemsize(one)


row_linear = row_map(None)


@compiled(internal=True, inline=True)
def linear_stage(one, rows, columns, layer, X, Z, Y):
    """Y = X W^T + b, equation (2)."""
    if layer.W.rows == 0:
        raise ValueError("params: expected a weight for a Linear layer, got none")
    if is_row(one, rows, layer):
        row_linear(one, layer, X, Y)
    else:
        linear(one, rows, layer, X, Y)


@compiled(internal=True, inline=True)
def softmax_stage(one, rows, columns, layer, X, Z, Y):
    """Y_s = softmax(X_s), as in `reductions`."""
    if layer.W.rows > 0:
        raise ValueError("params: expected no weight for a Softmax layer, got one")
    copy(one, rows, columns, X, Z)
    for r in range(rows):
        z, y = row_of(one, Z, r, columns), row_of(one, Y, r, columns)
        softmax_rows(0, 1, z.reshape(1, columns), y.reshape(1, columns))


@compiled(internal=True, inline=True)
def copy(one, rows, columns, X, Y):
    """Y = X, any strides."""
    for r in range(rows):
        for c in range(columns):
            row_of(one, moved(Y, r, c), 0, 1)[0] = row_of(one, moved(X, r, c), 0, 1)[0]


# ---- the chain -------------------------------------------------------------------------------


@cache
def network(stages: tuple[Any, ...]) -> Any:
    """Return the function fn(params, x[, out]) of these stages: one for each sequence of them."""
    run, indices = _chain(stages), tuple(range(len(stages)))

    @compiled(inline=True)
    def fn(params, x, out=None):
        one, X, leading, dtype = x.dtype.type(1), plane(x), x.shape[:-1], x.dtype
        given, destination = output_plane(x, out), unowned(out)
        layers = layers_of(params, one, indices)
        columns = out_columns(layers, X.columns)
        if destination is None:
            result = np.empty(leading + (columns,), dtype)  # noqa: RUF005  Numba's way
            Y = plane(result)
        else:
            if given.rows != X.rows or given.columns != columns:
                shape = given.rows, given.columns
                raise ValueError("out: expected rows and columns", (X.rows, columns), "got", shape)
            Y = given

        pitch = up_to(hidden_width(layers, X.columns) * itemsize(one), VECTOR_BYTES)
        rows = rows_at_once(X.rows, pitch)
        nbytes = 3 * rows * pitch
        P = Matrix(borrow_bytes(nbytes, STACK_BYTES), pitch, itemsize(one))
        Q, Z = moved(P, rows, 0), moved(P, 2 * rows, 0)
        for i in range(0, X.rows, rows):
            height = min(rows, X.rows - i)
            run(one, height, X.columns, layers, moved(X.at, i, 0), moved(Y.at, i, 0), P, Q, Z)
        return_bytes(P.data, nbytes, STACK_BYTES)
        return owned(destination, result)

    return fn


@cache
def _chain(stages: tuple[Any, ...]) -> Any:
    """Return the function that runs the stages; P and Q take what lies between them in turn."""
    first = stages[0]

    @compiled(internal=True, inline=True)
    def last(one, rows, columns, layers, X, Y, P, Q, Z):
        (layer,) = layers
        if Y.col == itemsize(one):
            first(one, rows, columns, layer, X, Z, Y)
        else:
            first(one, rows, columns, layer, X, Z, P)
            copy(one, rows, width(layer, columns), P, Y)

    @compiled(internal=True, inline=True)
    def run(one, rows, columns, layers, X, Y, P, Q, Z):
        layer = layers[0]
        first(one, rows, columns, layer, X, Z, P)
        rest(one, rows, width(layer, columns), layers[1:], P, Y, Q, P, Z)

    if len(stages) == 1:
        return last
    rest = _chain(stages[1:])
    return run


@compiled(internal=True, inline=True)
def width(layer, columns):
    """Return how many columns a layer makes of ``columns``."""
    return layer.W.rows if layer.W.rows > 0 else columns


@compiled(internal=True, inline=True)
def out_columns(layers, columns):
    """Return how many columns the last layer makes; raise where a shape does not fit."""
    for i in range(len(layers)):
        N, M, _ = layers[i].W
        biases = layers[i].b.columns
        if N > 0 and columns != M:
            raise ValueError("x or params: layer", i, "expected columns", M, "got", columns)
        if N > 0 and biases != N and biases != 0:
            raise ValueError("params: layer", i, "expected biases", N, "got", biases)
        columns = width(layers[i], columns)
    return columns


@compiled(internal=True, inline=True)
def hidden_width(layers, columns):
    """Return the width of the widest result."""
    widest = 0
    for layer in layers:
        columns = width(layer, columns)
        widest = max(widest, columns)
    return widest


@compiled(internal=True, inline=True)
def rows_at_once(rows, pitch):
    """Return how many rows go through all layers together: whole tiles, if that many fit."""
    fitting = max(1, ROW_BYTES // max(pitch, 1))
    if fitting > TALL:
        fitting -= fitting % TALL
    return max(1, min(rows, fitting))


@compiled
def prepare(one):
    """Compile or load what is called by address, for a dtype: a cached caller can't by itself."""
    return affine_address(one)
