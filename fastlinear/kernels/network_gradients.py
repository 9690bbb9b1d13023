"""A whole network's forward and backward pass for a user's own nopython code, serial.

The passes of `network`, for those who train inside compiled code: `forward` returns what `backward`
needs instead of keeping it, so any number of threads may train at once, each with gradients of its
own. The sums are those of `tiled`, hence the bits of `Module.forward` and `Module.backward`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba.core import config

from fastlinear.kernels import interpreted
from fastlinear.kernels.borrowed import (
    Layer,
    layers_of,
    matrix,
    plane,
    planes_of,
    require_gradients,
)
from fastlinear.kernels.by_address import by_address
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import call, view
from fastlinear.kernels.network import copy, linear, out_columns, width
from fastlinear.kernels.orientation import product_types
from fastlinear.kernels.packing import plain
from fastlinear.kernels.reductions import softmax_backward_rows, softmax_rows
from fastlinear.kernels.sharing import run_share
from fastlinear.kernels.tiled import bias_sum, input_sum, row_view, weight_sum


class Stage(NamedTuple):
    """One layer, both ways.

    ``forward(layer, x)`` returns Y and what backward starts from besides x.
    ``backward(layer, x, v, dy, dW, db, dx)`` fills the gradients; dx may be None.
    """

    forward: Any
    backward: Any


@compiled(internal=True)
def keep_output(z, a):
    """Return what h' is taken of: A."""
    return a


@compiled(internal=True)
def keep_input(z, a):
    """Return what h' is taken of: Z."""
    return z


@cache
def map_stage(h: Any, h_prime: Any, from_output: bool) -> Stage:
    """Return the stage A = h(X W^T + b), or A = h(X); ``h_prime`` takes A if ``from_output``."""
    keep = keep_output if from_output else keep_input  # the cache can name a function, not a bool

    @compiled(internal=True, interleaved=True)
    def forward(layer, x):
        z = affine_of(layer, x)
        a = np.empty_like(z)
        p, q = layer[2][0], layer[2][1]
        for s in range(z.shape[0]):
            for n in range(z.shape[1]):
                a[s, n] = h(z[s, n], p, q)
        return a, keep(z, a)

    @compiled(internal=True, interleaved=True)
    def backward(layer, x, v, da, dW, db, dx):
        dz = np.empty_like(v)
        p, q = layer[2][0], layer[2][1]
        for s in range(v.shape[0]):
            for n in range(v.shape[1]):
                dz[s, n] = da[s, n] * h_prime(v[s, n], p, q)
        gradients(layer, x, dz, dW, db, dx)

    return Stage(forward, backward)


@compiled(internal=True)
def linear_forward(layer, x):
    """Y = X W^T + b, equation (2)."""
    if layer[0].shape[0] == 0:
        raise ValueError("params: expected a weight for a Linear layer, got none")
    z = affine_of(layer, x)
    return z, z


@compiled(internal=True)
def linear_backward(layer, x, v, dy, dW, db, dx):
    """dW, db and dX, equations (4), (9), (14)."""
    gradients(layer, x, dy, dW, db, dx)


@compiled(internal=True)
def softmax_forward(layer, x):
    """Y = softmax(X), row by row."""
    if layer[0].shape[0] > 0:
        raise ValueError("params: expected no weight for a Softmax layer, got one")
    z = affine_of(layer, x)
    y = np.empty_like(z)
    softmax_rows(0, len(x), z, y)
    return y, y


@compiled(internal=True)
def softmax_backward(layer, x, y, dy, dW, db, dx):
    """Pull dY back through the softmax, from its output."""
    dz, given = np.empty_like(y), np.empty_like(y)
    copy(y.dtype.type(1), *y.shape, view(dy), view(given))
    softmax_backward_rows(0, len(y), given, y, dz)
    gradients(layer, x, dz, dW, db, dx)


LINEAR = Stage(linear_forward, linear_backward)
SOFTMAX = Stage(softmax_forward, softmax_backward)


@compiled(internal=True)
def affine_of(layer, x):
    """Return X W^T + b, or a copy of X where W has no rows."""
    W, b, pq = layer
    one = x.dtype.type(1)
    z = np.empty((x.shape[0], W.shape[0] if W.shape[0] > 0 else x.shape[1]), x.dtype)
    if W.shape[0] > 0:
        linear(one, len(x), Layer(plane(W), plane(b), pq[0], pq[1]), plane(x).at, plane(z).at)
    else:
        copy(one, x.shape[0], x.shape[1], plane(x).at, plane(z).at)
    return z


@compiled(internal=True)
def serial_product(one, task):
    """Compute a product for any strides of C."""
    run_share(one, task, 0, 1, 0)


serial_product_address = by_address(serial_product, product_types)


@compiled(internal=True)
def gradients(layer, x, dz, dW, db, dx):
    """Fill dW (4), db (9) and, unless dx is None, dX (14); without W, dX is dZ."""
    W, _, _ = layer
    if W.shape[0] > 0:
        S, (N, M) = len(x), W.shape
        one, dY = x.dtype.type(1), view(dz)
        product = serial_product_address(one)
        call(product, (one, weight_sum(S, N, M, dY, view(x), view(dW), plain(one))))
        if db.size > 0:
            call(product, (one, bias_sum(one, S, N, dY, row_view(db), plain(one))))
        if dx is not None:
            call(product, (one, input_sum(S, N, M, dY, view(W), view(dx), plain(one))))
    elif dx is not None:
        copy(x.dtype.type(1), *dz.shape, view(dz), view(dx))


if config.DISABLE_JIT:
    affine_of, gradients, copy = (
        interpreted.affine_of,
        interpreted.gradients,
        interpreted.copy,
    )
    view = np.asarray


@cache
def network_gradients(stages: tuple[Stage, ...]) -> tuple[Any, Any]:
    """Return forward(params, x) and backward(params, kept, dy, grads[, dx]) of these stages.

    Both check every type and shape before they write.
    """
    (run_forward, run_backward), indices = _chain(stages), tuple(range(len(stages)))

    @compiled
    def forward(params, x):
        out_columns(layers_of(params, x.dtype.type(1), indices), matrix(x).columns)
        return run_forward(params, x)

    @compiled
    def backward(params, kept, dy, grads, dx=None):
        require_gradients(params, kept, dy, grads, dx)
        dX = plane(kept[0]) if dx is None else plane(dx)
        layers = layers_of(params, dy.dtype.type(1), indices)
        check_shapes(layers, planes_of(kept), plane(dy), planes_of(grads), dX)
        run_backward(params, kept, dy, grads, dx)

    return forward, backward


@cache
def _chain(stages: tuple[Stage, ...]) -> tuple[Any, Any]:
    """Return both passes of the stages; ``kept`` holds x and v of each, one after another."""
    first_forward, first_backward = stages[0]

    @compiled(internal=True)
    def last_forward(params, x):
        y, v = first_forward(params, x)
        return y, (x, v)

    @compiled(internal=True)
    def last_backward(params, kept, dy, grads, dx):
        first_backward(params, kept[0], kept[1], dy, grads[0], grads[1], dx)

    if len(stages) == 1:
        return last_forward, last_backward
    rest_forward, rest_backward = _chain(stages[1:])

    @compiled(internal=True)
    def forward(params, x):
        a, v = first_forward(params[:3], x)
        y, kept = rest_forward(params[3:], a)
        return y, (x, v, *kept)

    @compiled(internal=True)
    def backward(params, kept, dy, grads, dx):
        da = np.empty_like(kept[2])
        rest_backward(params[3:], kept[2:], dy, grads[2:], da)
        first_backward(params[:3], kept[0], kept[1], da, grads[0], grads[1], dx)

    return forward, backward


@compiled(internal=True)
def check_shapes(layers, kept, dY, grads, dX):
    """Raise ValueError unless all planes that ``backward`` takes fit together."""
    X = kept[0]
    S, columns = X.rows, X.columns
    out_columns(layers, columns)
    for i in range(len(layers)):
        x, v, dW, db = kept[2 * i], kept[2 * i + 1], grads[2 * i], grads[2 * i + 1]
        N, M, _ = layers[i].W
        biases = layers[i].b.columns
        if x.rows != S or x.columns != columns:
            raise ValueError("kept: layer", i, "expected", (S, columns), "got", (x.rows, x.columns))
        columns = width(layers[i], columns)
        if v.rows != S or v.columns != columns:
            raise ValueError("kept: layer", i, "expected", (S, columns), "got", (v.rows, v.columns))
        if dW.rows != N or dW.columns != M:
            raise ValueError(
                "grads: dW of layer", i, "expected", (N, M), "got", (dW.rows, dW.columns)
            )
        if db.columns != biases:
            raise ValueError("grads: db of layer", i, "expected", biases, "got", db.columns)
    if dY.rows != S or dY.columns != columns:
        raise ValueError("dy: expected shape", (S, columns), "got", (dY.rows, dY.columns))
    if dX.rows != S or dX.columns != X.columns:
        raise ValueError("dx: expected shape", (S, X.columns), "got", (dX.rows, dX.columns))


@compiled
def prepare(one):
    """Compile or load what is called by address, for a dtype, as `network.prepare` does."""
    return serial_product_address(one)
