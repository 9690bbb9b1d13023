"""The same sums as ``loops``, bit for bit, in register tiles: the default formulation.

Each function names its product; `fastlinear.kernels.product` holds the loops and
`fastlinear.kernels.sharing` divides them among threads, by output elements only.

``linear_*`` may be called from nopython code, also inside a ``prange``. Like all kernels they trust
their inputs and overwrite their outputs, any strides allowed. `forward` and `backward` are what the
layers call: with the activation fused in, and one parallel launch each.

>>> import numba, numpy as np
>>> from fastlinear.kernels import tiled
>>> @numba.njit
... def descend(X, T, W, b, lr, steps):
...     dY, dW, db = np.empty_like(T), np.empty_like(W), np.empty_like(b)
...     for _ in range(steps):
...         tiled.linear_forward(X, W, b, dY)
...         dY -= T
...         tiled.linear_backward_weight(dY, X, dW)
...         tiled.linear_backward_bias(dY, db)
...         W -= lr * dW
...         b -= lr * db
>>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
>>> W, b = np.zeros((1, 1)), np.zeros(1)
>>> descend(X, 2 * X + 1, W, b, 0.1, 200)
>>> print(W.round(3), b.round(3))
[[2.]] [1.]
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numba.core import config

from fastlinear.kernels import loops
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import Matrix, address_of, transposed, view
from fastlinear.kernels.packing import FORM_A, FORM_B, FORWARD, PLAIN, Fused
from fastlinear.kernels.product import Product
from fastlinear.kernels.sharing import run_share, threads_for


@compiled(parallel=True, any_layout=True)
def linear_forward(X, W, b, Y):
    """Y_sn = sum_m X_sm W_nm + b_n, equation (2): X (S, M), W (N, M), b (N,) or None, Y (S, N)."""
    one = X.dtype.type(1)
    threads = threads_for(X.size * W.shape[0])
    bias = no_bias(one) if b is None else adjacent(b)
    if threads == 1:
        run_share(one, forward_sum(X, W, bias, Y, plain(one)), 0, 1)
    else:
        for t in prange(threads):
            run_share(one, forward_sum(X, W, bias, Y, plain(one)), t, threads)


@compiled(parallel=True, any_layout=True)
def linear_backward_weight(dY, X, dW):
    """dW_nm = sum_s dY_sn X_sm, equation (4): dY (S, N), X (S, M), dW (N, M)."""
    one = X.dtype.type(1)
    threads = threads_for(X.size * dY.shape[1])
    if threads == 1:
        run_share(one, weight_sum(dY, X, dW, plain(one)), 0, 1)
    else:
        for t in prange(threads):
            run_share(one, weight_sum(dY, X, dW, plain(one)), t, threads)


@compiled(parallel=True, any_layout=True)
def linear_backward_bias(dY, db):
    """db_n = sum_s dY_sn, equation (9): dY (S, N), db (N,)."""
    one = dY.dtype.type(1)
    ones = np.empty(1, dY.dtype)  # np.ones would be a parallel loop of its own
    ones[0] = one
    threads = threads_for(dY.size)
    if threads == 1:
        run_share(one, bias_sum(ones, dY, db, plain(one)), 0, 1)
    else:
        for t in prange(threads):
            run_share(one, bias_sum(ones, dY, db, plain(one)), t, threads)


@compiled(parallel=True, any_layout=True)
def linear_backward_input(dY, W, dX):
    """dX_sm = sum_n dY_sn W_nm, equation (14): dY (S, N), W (N, M), dX (S, M)."""
    one = dY.dtype.type(1)
    threads = threads_for(dY.size * W.shape[1])
    if threads == 1:
        run_share(one, input_sum(dY, W, dX, plain(one)), 0, 1)
    else:
        for t in prange(threads):
            run_share(one, input_sum(dY, W, dX, plain(one)), t, threads)


if config.DISABLE_JIT:  # no register tiles, but their bits
    linear_forward = loops.linear_forward
    linear_backward_weight = loops.linear_backward_weight
    linear_backward_bias = loops.linear_backward_bias
    linear_backward_input = loops.linear_backward_input


@compiled(parallel=True, any_layout=True)
def forward(X, W, b, V, A, h, h_prime, p, q):
    """A = h(X W^T + b), and V = h'(X W^T + b) where ``h_prime`` is not 0.

    h and h_prime are addresses of map kernels or 0; b has no elements where there is no bias, and V
    none where it is not wanted.
    """
    one = X.dtype.type(1)
    threads = threads_for(X.size * W.shape[0])
    if threads == 1:
        fused = Fused(h, h_prime, 0, FORWARD, view(V), p, q)
        run_share(one, forward_sum(X, W, b, A, fused), 0, 1)
    else:
        for t in prange(threads):
            shared = Fused(h, h_prime, 0, FORWARD, view(V), p, q)
            run_share(one, forward_sum(X, W, b, A, shared), t, threads)


@compiled(parallel=True, any_layout=True)
def backward(dA, V, hadamard, X, W, dX, dW, db, p, q):
    """dZ = dA o h'(V), then dW, db and dX from dZ, each formed where it is read.

    ``hadamard`` is the address of its kernel; 0 takes dZ = dA. An output without elements is
    skipped.
    """
    ones = np.empty(1, dA.dtype)  # np.ones would be a parallel loop of its own
    ones[0] = 1
    threads = threads_for(dA.size * (W.shape[1] if dX.size + dW.size > 0 else 1))
    if threads == 1:
        backward_share(ones, dA, V, hadamard, X, W, dX, dW, db, p, q, 0, 1)
    else:
        for t in prange(threads):
            backward_share(ones, dA, V, hadamard, X, W, dX, dW, db, p, q, t, threads)


@compiled(internal=True)
def backward_share(ones, dA, V, hadamard, X, W, dX, dW, db, p, q, t, threads):
    """Compute share t of each gradient."""
    one = ones[0]
    v = view(V)
    if dW.size > 0:
        fused = forming(hadamard, FORM_A, transposed(v), p, q)
        run_share(one, weight_sum(dA, X, dW, fused), t, threads)
    if db.size > 0:
        fused = forming(hadamard, FORM_B, v, p, q)
        run_share(one, bias_sum(ones, dA, db, fused), t, threads)
    if dX.size > 0:
        fused = forming(hadamard, FORM_A, v, p, q)
        run_share(one, input_sum(dA, W, dX, fused), t, threads)


@compiled(internal=True)
def forming(hadamard, operand, V, p, q):
    """Return the instruction to form an operand from dA, unless there is no h'."""
    return Fused(0, 0, hadamard, operand if hadamard != 0 else PLAIN, V, p, q)


@compiled(internal=True)
def plain(one):
    """Return the absence of an activation."""
    return Fused(0, 0, 0, PLAIN, Matrix(0, 0, 0), one, one)


@compiled(internal=True)
def no_bias(one):
    """Return no elements, for a bias that is not there."""
    return np.empty(0, type(one))


@compiled(internal=True)
def adjacent(b):
    """Return a vector without gaps in memory."""
    return b if b.strides[0] == b.itemsize else b.copy()


# ---- the four sums as products, as in the table of `product` --------------------------------


@compiled(internal=True)
def forward_sum(X, W, b, Y, fused):
    """Return Y = X W^T + b as a product."""
    S, M = X.shape
    bias = address_of(b) if b.size > 0 else 0
    return Product(S, W.shape[0], M, view(X), transposed(view(W)), view(Y), bias, fused)


@compiled(internal=True)
def weight_sum(dY, X, dW, fused):
    """Return dW = dY^T X as a product."""
    S, M = X.shape
    return Product(dY.shape[1], M, S, transposed(view(dY)), view(X), view(dW), 0, fused)


@compiled(internal=True)
def bias_sum(ones, dY, db, fused):
    """Return db = 1^T dY as a product with a row of ones, all of them the same one."""
    S, N = dY.shape
    row = Matrix(address_of(ones), 0, 0)
    return Product(1, N, S, row, view(dY), Matrix(address_of(db), 0, db.strides[0]), 0, fused)


@compiled(internal=True)
def input_sum(dY, W, dX, fused):
    """Return dX = dY W as a product."""
    S, N = dY.shape
    return Product(S, W.shape[1], N, view(dY), view(W), view(dX), 0, fused)
