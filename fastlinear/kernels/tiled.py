"""The same sums as ``loops``, bit for bit, in register tiles: the default formulation.

Each function names its product; `fastlinear.kernels.product` holds the loops and
`fastlinear.kernels.sharing` divides them among threads.

``linear_*`` may be called from nopython code, also inside a ``prange``. Like all kernels they trust
their inputs and overwrite their outputs, any strides allowed. What layers call, with the activation
fused in and a parallel launch or two for a pass, is in `fastlinear.kernels.passes`.

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

from numba.core import config

from fastlinear.kernels import loops
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.memory import (
    Matrix,
    address_of,
    address_of_one,
    alive,
    row_of,
    transposed,
    view,
)
from fastlinear.kernels.packing import plain
from fastlinear.kernels.product import Product
from fastlinear.kernels.sharing import run_shared


@compiled(any_layout=True)
def linear_forward(X, W, b, Y):
    """Y_sn = sum_m X_sm W_nm + b_n, equation (2): X (S, M), W (N, M), b (N,) or None, Y (S, N)."""
    one, (S, M), N = X.dtype.type(1), X.shape, W.shape[0]
    bias = no_bias(one) if b is None else adjacent(b)
    run_shared(one, forward_sum(S, N, M, view(X), view(W), start_of(bias), view(Y), plain(one)))
    alive(bias)


@compiled(any_layout=True)
def linear_backward_weight(dY, X, dW):
    """dW_nm = sum_s dY_sn X_sm, equation (4): dY (S, N), X (S, M), dW (N, M)."""
    one, (S, M), N = X.dtype.type(1), X.shape, dY.shape[1]
    run_shared(one, weight_sum(S, N, M, view(dY), view(X), view(dW), plain(one)))


@compiled(any_layout=True)
def linear_backward_bias(dY, db):
    """db_n = sum_s dY_sn, equation (9): dY (S, N), db (N,)."""
    one, (S, N) = dY.dtype.type(1), dY.shape
    run_shared(one, bias_sum(one, S, N, view(dY), row_view(db), plain(one)))


@compiled(any_layout=True)
def linear_backward_input(dY, W, dX):
    """dX_sm = sum_n dY_sn W_nm, equation (14): dY (S, N), W (N, M), dX (S, M)."""
    one, (S, N), M = dY.dtype.type(1), dY.shape, W.shape[1]
    run_shared(one, input_sum(S, N, M, view(dY), view(W), view(dX), plain(one)))


if config.DISABLE_JIT:  # no register tiles, but their bits
    linear_forward = loops.linear_forward
    linear_backward_weight = loops.linear_backward_weight
    linear_backward_bias = loops.linear_backward_bias
    linear_backward_input = loops.linear_backward_input


@compiled(internal=True)
def no_bias(one):
    """Return no elements, for a bias that is not there."""
    return row_of(one, Matrix(0, 0, 0), 0, 0)


@compiled(internal=True)
def adjacent(b):
    """Return a vector without gaps in memory."""
    return b if b.strides[0] == b.itemsize else b.copy()


@compiled(internal=True)
def start_of(b):
    """Return the address of a vector's first element, or 0 where there is none."""
    return address_of(b) if b.size > 0 else 0


@compiled(internal=True)
def row_view(b):
    """Return a vector as a matrix of one row; its address is 0 where it has no elements."""
    return Matrix(start_of(b), 0, b.strides[0])


# ---- the four sums as products, as in the table of `product` --------------------------------


@compiled(internal=True)
def forward_sum(S, N, M, X, W, bias, Y, fused):
    """Return Y = X W^T + b as a product; ``bias`` is the address of b, or 0."""
    return Product(S, N, M, X, transposed(W), Y, bias, fused)


@compiled(internal=True)
def weight_sum(S, N, M, dY, X, dW, fused):
    """Return dW = dY^T X as a product."""
    return Product(N, M, S, transposed(dY), X, dW, 0, fused)


@compiled(internal=True)
def bias_sum(one, S, N, dY, db, fused):
    """Return db = 1^T dY as a product with a row of ones, all of them the same one."""
    return Product(1, N, S, Matrix(address_of_one(one), 0, 0), dY, db, 0, fused)


@compiled(internal=True)
def input_sum(S, N, M, dY, W, dX, fused):
    """Return dX = dY W as a product."""
    return Product(S, M, N, dY, W, dX, 0, fused)
