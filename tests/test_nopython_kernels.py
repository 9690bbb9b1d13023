"""The kernels of `loops` and `tiled` in the user's own compiled code, and what docstrings show."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from bits import same
from networks import sample
from numba import njit, prange
from shapes import blank

import fastlinear as fl
from fastlinear.kernels import loops, tiled
from fastlinear.layers import module


@pytest.mark.parametrize("kernels", [loops, tiled], ids=["loops", "tiled"])
def test_kernels_in_nopython_code(kernels):
    forward, weight = kernels.linear_forward, kernels.linear_backward_weight
    bias, inputs = kernels.linear_backward_bias, kernels.linear_backward_input

    @njit
    def by_itself(X, W, b, dY, Y, dW, db, dX):
        forward(X, W, b, Y)
        weight(dY, X, dW)
        bias(dY, db)
        inputs(dY, W, dX)

    @njit(parallel=True)
    def in_prange(X, W, b, dY, Y, dW, db, dX):
        for i in prange(len(X)):
            by_itself(X[i], W, b, dY[i], Y[i], dW[i], db[i], dX[i])

    def in_order(X, W, b, dY, Y, dW, db, dX):
        for i in range(len(X)):
            by_itself(X[i], W, b, dY[i], Y[i], dW[i], db[i], dX[i])

    X, W, b, dY = sample(8, 30, 11), sample(17, 11), sample(17), sample(8, 30, 17, seed=1)
    expected = [blank(*s, dtype=np.float32) for s in ((8, 30, 17), (8, 17, 11), (8, 17), X.shape)]
    for i in range(8):
        loops.linear_forward(X[i], W, b, expected[0][i])
        loops.linear_backward_weight(dY[i], X[i], expected[1][i])
        loops.linear_backward_bias(dY[i], expected[2][i])
        loops.linear_backward_input(dY[i], W, expected[3][i])
    for function in (in_prange, in_order):
        results = [np.full_like(a, np.nan) for a in expected]
        function(X, W, b, dY, *results)
        for got, value in zip(results, expected, strict=True):
            assert same(got, value)


W, b = sample(3, 4), sample(3)


@pytest.mark.parametrize("kernels", [loops, tiled], ids=["loops", "tiled"])
def test_read_only_arrays_in_nopython_code(kernels):
    """As all that a compiled function takes from outside, W and b here."""
    forward, inputs = kernels.linear_forward, kernels.linear_backward_input

    @njit
    def both(X, Y, dX):
        forward(X, W, b, Y)
        inputs(Y, W, dX)

    X = sample(2, 4, seed=1)
    frozen, expected, results = X.copy(), blank(2, 3, dtype=np.float32), np.empty_like(X)
    frozen.flags.writeable = False
    forward(frozen, W, b, expected)
    for given in (X, frozen):
        Y = np.empty_like(expected)
        both(given, Y, results)
        assert same(Y, expected)
    result = np.empty_like(X)
    inputs(expected, W, result)
    assert same(results, result)


def test_loops_activation_in_nopython_code():
    h, h_prime = fl.ELU().pair.h, fl.ELU().pair.h_prime

    @njit(parallel=True)
    def both(X, Y, dX):
        p = np.float32(0.5)
        for i in prange(len(X)):
            loops.activation_forward(h, X[i], p, p, Y[i])
            loops.activation_backward(h_prime, Y[i], X[i], p, p, dX[i])

    X, elu = sample(4, 5, 6), fl.ELU(0.5)
    Y, dX = np.empty_like(X), np.empty_like(X)
    both(X, Y, dX)
    assert same(Y, elu.predict(X))
    expected = np.empty_like(X)
    for i in range(4):
        loops.activation_backward(h_prime, Y[i], X[i], np.float32(0.5), np.float32(0), expected[i])
    assert same(dX, expected)


@pytest.mark.parametrize("documented", [loops, tiled, module], ids=lambda m: m.__name__)
def test_examples_in_docstrings(documented):
    result = doctest.testmod(documented)
    assert result.attempted > 0
    assert result.failed == 0
