"""Softmax, cross-entropy and squared error, each sum in blocks of `BLOCK` terms in index order.

Arrays are C-contiguous, of one dtype; results are supplied by the caller and overwritten. A result
row depends on its own row alone. Kernels trust their inputs; layers check them.

The largest logit of a row, x_k (k its first index), is subtracted from all. Its own term exp(0) = 1
is left out of the sum, R = sum over j != k of exp(x_j - x_k), so that small terms are not lost
beside the 1:

    softmax_j        exp(x_j - x_k) / (1 + R)
    log sum exp      x_k + log1p(R)
    dL/dx_k          softmax_k - 1 = -R / (1 + R)   where k is the label

No difference of nearly equal numbers is formed; a loss of 1e-30 is as accurate as one of 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlinear.kernels.fma import fma
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.ranges import run
from fastlinear.kernels.sizes import BLOCK
from fastlinear.kernels.vecmath import exp, log1p

Array = NDArray[Any]


def softmax(X: Array, Y: Array) -> None:
    """Y_sj = exp(X_sj) / sum_k exp(X_sk): X and Y (S, C)."""
    if X.size:
        run(softmax_rows, *X.shape, X, Y)


def softmax_backward(dY: Array, Y: Array, dX: Array) -> None:
    """dX_sj = Y_sj (dY_sj - sum_k dY_sk Y_sk): all (S, C)."""
    if Y.size:
        run(softmax_backward_rows, *Y.shape, dY, Y, dX)


def cross_entropy(X: Array, labels: Array, tops: Array, rests: Array) -> float:
    """Return sum_s log(sum_j exp(X_sj)) - X_s,label, and store k and R of each row.

    X (S, C) with C >= 1; labels and tops (S,) int64; rests (S,). The sum over s is in the array's
    dtype.
    """
    terms = np.empty(len(X), X.dtype)
    run(_cross_entropy, *X.shape, X, labels, tops, rests, terms)
    return float(_total(terms))


def cross_entropy_backward(
    X: Array, labels: Array, tops: Array, rests: Array, scale: float, dX: Array
) -> None:
    """dX_sj = scale (softmax_sj - [j is the label]): arrays as `cross_entropy` left them."""
    run(_cross_entropy_backward, *X.shape, X, labels, tops, rests, X.dtype.type(scale), dX)


def squared_error(x: Array, target: Array) -> float:
    """Return the sum of (x_i - t_i)^2 over rows of one length."""
    sums = np.empty(-(-x.size // BLOCK), x.dtype)
    run(_squared_error, sums.size, BLOCK, x, target, sums)
    return float(_in_order(sums))


def squared_error_backward(x: Array, target: Array, scale: float, dx: Array) -> None:
    """dx_i = scale (x_i - t_i)."""
    run(_squared_error_backward, x.size, 1, x, target, x.dtype.type(scale), dx)


@compiled
def first_outside(labels, classes):
    """Return the index of the first label that is not in 0 .. classes - 1, or -1."""
    for s in range(labels.size):
        if labels[s] < 0 or labels[s] >= classes:
            return s
    return -1


# The kernels behind these names: rows (or blocks, or elements) start to stop - 1.


@compiled
def softmax_rows(start, stop, X, Y):
    """Compute the rows of `softmax`."""
    one = X.dtype.type(1)
    for s in range(start, stop):
        y = Y[s]
        k, rest = _exponentials(X[s], y)
        y[k] += one
        for j in range(y.size):
            y[j] /= one + rest


@compiled
def softmax_backward_rows(start, stop, dY, Y, dX):
    """Compute the rows of `softmax_backward`."""
    for s in range(start, stop):
        mean = _dot(dY[s], Y[s])
        for j in range(Y.shape[1]):
            dX[s, j] = Y[s, j] * (dY[s, j] - mean)


@compiled
def _cross_entropy(start, stop, X, labels, tops, rests, terms):
    e = np.empty(X.shape[1], X.dtype)
    for s in range(start, stop):
        k, rest = _exponentials(X[s], e)
        tops[s], rests[s] = k, rest
        terms[s] = log1p(rest) + (X[s, k] - X[s, labels[s]])


@compiled
def _cross_entropy_backward(start, stop, X, labels, tops, rests, scale, dX):
    one = X.dtype.type(1)
    for s in range(start, stop):
        k, label, rest = tops[s], labels[s], rests[s]
        for j in range(X.shape[1]):
            dX[s, j] = scale * (exp(X[s, j] - X[s, k]) / (one + rest))
        if label == k:
            dX[s, k] = -scale * (rest / (one + rest))
        else:
            dX[s, label] -= scale


@compiled
def _squared_error(start, stop, x, target, sums):
    for block in range(start, stop):
        total = x.dtype.type(0)
        for i in range(block * BLOCK, min((block + 1) * BLOCK, x.size)):
            difference = x[i] - target[i]
            total = fma(difference, difference, total)
        sums[block] = total


@compiled
def _squared_error_backward(start, stop, x, target, scale, dx):
    for i in range(start, stop):
        dx[i] = scale * (x[i] - target[i])


@compiled
def _exponentials(x, e):
    """Fill e_j = exp(x_j - x_k), but e_k = 0; return k and the sum R of e."""
    k = 0
    for j in range(1, x.size):
        if x[j] > x[k]:
            k = j
    for j in range(x.size):
        e[j] = exp(x[j] - x[k])
    e[k] -= x.dtype.type(1)  # 0, or NaN where x_k is NaN or infinite
    return k, _sum(e)


@compiled
def _sum(terms):
    """Sum of a row, in blocks."""
    total = terms.dtype.type(0)
    for start in range(0, terms.size, BLOCK):
        part = terms.dtype.type(0)
        for i in range(start, min(start + BLOCK, terms.size)):
            part += terms[i]
        total = part if start == 0 else total + part
    return total


@compiled
def _total(terms):
    """`_sum` for Python: what is compiled as part of others has no file of its own in the cache."""
    return _sum(terms)


@compiled
def _dot(a, b):
    """Sum of a_i b_i by `fma`, in blocks."""
    total = a.dtype.type(0)
    for start in range(0, a.size, BLOCK):
        part = a.dtype.type(0)
        for i in range(start, min(start + BLOCK, a.size)):
            part = fma(a[i], b[i], part)
        total = part if start == 0 else total + part
    return total


@compiled
def _in_order(sums):
    """Sum of the sums of blocks."""
    total = sums.dtype.type(0)
    for block in range(sums.size):
        total = sums[block] if block == 0 else total + sums[block]
    return total
