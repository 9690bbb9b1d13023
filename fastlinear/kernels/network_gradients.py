"""A whole network's forward and backward pass for a user's own nopython code, serial.

The passes of `network`, for those who train inside compiled code: `forward` returns what `backward`
needs instead of keeping it, so any number of threads may train at once, each with gradients of its
own. The sums are those of `tiled`, hence the bits of `Module.forward` and `Module.backward`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core import config

from fastlinear.kernels import interpreted
from fastlinear.kernels.borrowed import Layer, plane
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import MATRIX, Matrix, address_of, call, transposed, view
from fastlinear.kernels.network import copy, linear
from fastlinear.kernels.packing import PLAIN, Fused
from fastlinear.kernels.product import Product
from fastlinear.kernels.reductions import softmax_backward_rows, softmax_rows
from fastlinear.kernels.shared import shared
from fastlinear.kernels.sharing import run_share


class Stage(NamedTuple):
    """One layer, both ways.

    ``forward(layer, x)`` returns Y and what backward starts from besides x.
    ``backward(layer, x, v, dy, dW, db, dx)`` fills the gradients; dx may be None.
    """

    forward: Any
    backward: Any


@cache
def map_stage(h: Any, h_prime: Any, from_output: bool) -> Stage:
    """Return the stage A = h(X W^T + b), or A = h(X); ``h_prime`` takes A if ``from_output``."""

    @compiled(internal=True)
    def forward(layer, x):
        z = affine_of(layer, x)
        a = np.empty_like(z)
        p, q = layer[2][0], layer[2][1]
        for s in range(z.shape[0]):
            for n in range(z.shape[1]):
                a[s, n] = h(z[s, n], p, q)
        return a, (a if from_output else z)

    @compiled(internal=True)
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
    z = affine_of(layer, x)
    return z, z


@compiled(internal=True)
def linear_backward(layer, x, v, dy, dW, db, dx):
    """dW, db and dX, equations (4), (9), (14)."""
    gradients(layer, x, dy, dW, db, dx)


@compiled(internal=True)
def softmax_forward(layer, x):
    """Y = softmax(X), row by row."""
    z, y = affine_of(layer, x), np.empty(x.shape, x.dtype)
    softmax_rows(0, len(x), z, y)
    return y, y


@compiled(internal=True)
def softmax_backward(layer, x, y, dy, dW, db, dx):
    """Pull dY back through the softmax, from its output."""
    if dx is not None:
        dz, given = np.empty_like(y), np.empty_like(y)
        copy(y.dtype.type(1), *y.shape, view(dy), view(given))
        softmax_backward_rows(0, len(y), given, y, dz)
        copy(y.dtype.type(1), *y.shape, view(dz), view(dx))


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
def serial_product(one, I, J, K, A, B, C):
    """C = A B, as `product` describes it, for any strides of C."""
    none = Fused(0, 0, 0, PLAIN, Matrix(0, 0, 0), one, one)
    run_share(one, Product(I, J, K, A, B, C, 0, none), 0, 1)


serial_product_address = shared(
    serial_product, lambda scalar: (scalar, *[types.intp] * 3, *[MATRIX] * 3)
)


@compiled(internal=True)
def gradients(layer, x, dz, dW, db, dx):
    """Fill dW (4), db (9) and, unless dx is None, dX (14); without W, dX is dZ."""
    W = layer[0]
    if W.shape[0] > 0:
        S, (N, M) = len(x), W.shape
        one = x.dtype.type(1)
        ones = np.empty(1, x.dtype)
        ones[0] = one
        row = Matrix(address_of(ones), 0, 0)  # a row of ones, all of them the same one
        product = serial_product_address(one)
        call(product, (one, N, M, S, transposed(view(dz)), view(x), view(dW)))
        if db.size > 0:
            call(product, (one, 1, N, S, row, view(dz), Matrix(address_of(db), 0, db.strides[0])))
        if dx is not None:
            call(product, (one, S, M, N, view(dz), view(W), view(dx)))
        ones[0] = 0  # alive until here: Numba frees an array after its last mention
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
    """Return forward(params, x) and backward(params, kept, dy, grads[, dx]) of these stages."""
    first = stages[0]
    first_forward, first_backward = first

    @compiled
    def last_forward(params, x):
        y, v = first_forward(params[:3], x)
        return y, ((x, v),)

    @compiled
    def last_backward(params, kept, dy, grads, dx=None):
        (x, v), dW, db = kept[0], grads[0], grads[1]
        first_backward(params[:3], x, v, dy, dW, db, dx)

    if len(stages) == 1:
        return last_forward, last_backward
    rest_forward, rest_backward = network_gradients(stages[1:])

    @compiled
    def forward(params, x):
        a, v = first_forward(params[:3], x)
        y, kept = rest_forward(params[3:], a)
        return y, ((x, v), *kept)

    @compiled
    def backward(params, kept, dy, grads, dx=None):
        da = np.empty_like(kept[1][0])
        rest_backward(params[3:], kept[1:], dy, grads[2:], da)
        (x, v), dW, db = kept[0], grads[0], grads[1]
        first_backward(params[:3], x, v, da, dW, db, dx)

    return forward, backward


@compiled
def prepare(one):
    """Compile or load the shared kernels for a dtype, as `network.prepare` does."""
    return serial_product_address(one)
