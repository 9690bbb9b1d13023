"""The index form written down: one plain loop nest per equation, the oracle of every other kernel.

Y = X W^T + b with X (S, M), W (N, M), b (N,), Y (S, N); dY stands for dL/dY and so on.

Every sum runs upward through its index in blocks of ``BLOCK`` terms: inside a block each term joins
by a fused multiply-add, starting from zero; the first block's sum is then taken as it is and the
others are added in order. ``tiled`` computes the same bits.

Kernels trust their inputs: shapes, dtypes and overlaps are the layers' to check. Each may be called
from nopython code, also inside a ``prange``. Outputs are overwritten, never read.

>>> import numba, numpy as np
>>> from fastlinear.kernels import loops
>>> @numba.njit(parallel=True)
... def many(X, W, b, Y):
...     for i in numba.prange(len(X)):
...         loops.linear_forward(X[i], W, b, Y[i])
>>> X, Y = np.ones((8, 4, 3)), np.empty((8, 4, 2))
>>> many(X, np.arange(6.0).reshape(2, 3), np.array([10.0, 20.0]), Y)
>>> Y[7, 3]
array([13., 32.])
"""

from numba import prange

from fastlinear.kernels.fma import fma
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.sizes import BLOCK


@compiled(parallel=True, any_layout=True)
def linear_forward(X, W, b, Y):
    """Y_sn = sum_m X_sm W_nm + b_n, equation (2).

    X (S, M), W (N, M), b (N,) or None, Y (S, N). Parallel over s: each sample owns its row of Y.
    """
    S, M = X.shape
    N = W.shape[0]
    zero = X.dtype.type(0)
    for s in prange(S):
        for n in range(N):
            total = zero
            for start in range(0, M, BLOCK):
                block = zero
                for m in range(start, min(start + BLOCK, M)):
                    block = fma(X[s, m], W[n, m], block)
                total = block if start == 0 else total + block
            Y[s, n] = total if b is None else total + b[n]


@compiled(parallel=True, any_layout=True)
def linear_backward_weight(dY, X, dW):
    """dW_nm = sum_s dY_sn X_sm, equation (4).

    dY (S, N), X (S, M), dW (N, M). Parallel over n: each output feature owns its row of dW.
    """
    S, M = X.shape
    N = dY.shape[1]
    zero = X.dtype.type(0)
    for n in prange(N):
        for m in range(M):
            total = zero
            for start in range(0, S, BLOCK):
                block = zero
                for s in range(start, min(start + BLOCK, S)):
                    block = fma(dY[s, n], X[s, m], block)
                total = block if start == 0 else total + block
            dW[n, m] = total


@compiled(parallel=True, any_layout=True)
def linear_backward_bias(dY, db):
    """db_n = sum_s dY_sn, equation (9).

    dY (S, N), db (N,). Parallel over n: each output feature owns its entry of db.
    """
    S, N = dY.shape
    zero = dY.dtype.type(0)
    for n in prange(N):
        total = zero
        for start in range(0, S, BLOCK):
            block = zero
            for s in range(start, min(start + BLOCK, S)):
                block += dY[s, n]
            total = block if start == 0 else total + block
        db[n] = total


@compiled(parallel=True, any_layout=True)
def linear_backward_input(dY, W, dX):
    """dX_sm = sum_n dY_sn W_nm, equation (14).

    dY (S, N), W (N, M), dX (S, M). Parallel over s: each sample owns its row of dX.
    """
    S, N = dY.shape
    M = W.shape[1]
    zero = dY.dtype.type(0)
    for s in prange(S):
        for m in range(M):
            total = zero
            for start in range(0, N, BLOCK):
                block = zero
                for n in range(start, min(start + BLOCK, N)):
                    block = fma(dY[s, n], W[n, m], block)
                total = block if start == 0 else total + block
            dX[s, m] = total


@compiled(parallel=True, any_layout=True)
def activation_forward(h, X, p, q, Y):
    """Y_sm = h(X_sm), equation (16).

    h is a compiled scalar function h(x, p, q); X and Y (S, M). Parallel over s.
    """
    S, M = X.shape
    for s in prange(S):
        for m in range(M):
            Y[s, m] = h(X[s, m], p, q)


@compiled(parallel=True, any_layout=True)
def activation_backward(h_prime, dY, V, p, q, dX):
    """dX_sm = dY_sm h'(V_sm), equation (18).

    h_prime is a compiled scalar function h'(v, p, q) of what the forward pass kept: V = X, or V = Y
    for a derivative written in terms of the output. dY, V and dX (S, M). Parallel over s.
    """
    S, M = dY.shape
    for s in prange(S):
        for m in range(M):
            dX[s, m] = dY[s, m] * h_prime(V[s, m], p, q)
