"""The sums are right: proven bounds, exact integers, adjoint identities, the documented order."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from shapes import DTYPES, blank, uniform

from fastlinear.kernels import formulation, sizes

NAMES = ("loops", "tiled", "blas")
WIDER = {np.float32: np.float64, np.float64: np.longdouble}
SHAPES = [(1, 1, 1), (5, 513, 9), (7, 33, 70), (37, 211, 53), (1100, 3, 5), (3, 4, 1100)]


def sums(f, X, W, b, dY):
    """Return Y, dW, db and dX."""
    (S, M), N, dtype = X.shape, W.shape[0], X.dtype
    Y, dW = blank(S, N, dtype=dtype), blank(N, M, dtype=dtype)
    db, dX = blank(N, dtype=dtype), blank(S, M, dtype=dtype)
    f.linear_forward(X, W, b, Y)
    f.linear_backward_weight(dY, X, dW)
    f.linear_backward_bias(dY, db)
    f.linear_backward_input(dY, W, dX)
    return {"Y": Y, "dW": dW, "db": db, "dX": dX}


def problem(S, M, N, dtype, seed=1):
    rng = np.random.default_rng(seed)
    return [uniform(rng, *s, dtype=dtype) for s in ((S, M), (N, M), (N,), (S, N))]


def gamma(terms, dtype):
    """Return gamma_k for k roundings in one block, one for each further block, one for the bias."""
    unit = np.finfo(dtype).eps / 2
    k = min(terms, sizes.BLOCK) + -(-terms // sizes.BLOCK) + 1
    return k * unit / (1 - k * unit)


@pytest.mark.parametrize("name", ["loops", "tiled"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_within_the_proven_bound(name, dtype, shape):
    """|computed - exact| <= gamma_k (|A| |B| + |b|), the exact value taken in a wider dtype."""
    X, W, b, dY = problem(*shape, dtype)
    S, M, N = shape
    computed = sums(formulation(name), X, W, b, dY)
    x, w, c, dy = (a.astype(WIDER[dtype]) for a in (X, W, b, dY))
    exact = {"Y": x @ w.T + c, "dW": dy.T @ x, "db": dy.sum(0), "dX": dy @ w}
    x, w, c, dy = (abs(a) for a in (x, w, c, dy))
    size = {"Y": x @ w.T + c, "dW": dy.T @ x, "db": dy.sum(0), "dX": dy @ w}
    for key, terms in {"Y": M, "dW": S, "db": S, "dX": N}.items():
        # The reference itself rounds, in any order: the same bound with the wider dtype's unit.
        slack = gamma(terms, dtype) + 2 * terms * np.finfo(WIDER[dtype]).eps
        assert np.all(abs(computed[key] - exact[key]) <= slack * size[key]), key


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_integers_are_exact(name, dtype, shape):
    """Small integers leave nothing to round, so any order gives what int64 arithmetic gives."""
    rng = np.random.default_rng(2)
    S, M, N = shape
    x, w, c, dy = (rng.integers(-9, 10, s) for s in ((S, M), (N, M), (N,), (S, N)))
    computed = sums(formulation(name), *(a.astype(dtype) for a in (x, w, c, dy)))
    for key, value in {"Y": x @ w.T + c, "dW": dy.T @ x, "db": dy.sum(0), "dX": dy @ w}.items():
        assert np.array_equal(computed[key], value), key


@pytest.mark.parametrize("name", NAMES)
def test_adjoint_identities(name):
    """<dY, X W^T> = <dX, X> = <dW, W>: the backward sums are the transposes of the forward one.

    On integers, where the three inner products are exact.
    """
    rng = np.random.default_rng(3)
    X, W, dY = (rng.integers(-9, 10, s).astype(np.float64) for s in ((37, 70), (53, 70), (37, 53)))
    computed = sums(formulation(name), X, W, None, dY)
    inner = np.vdot(dY, computed["Y"])
    assert inner == np.vdot(computed["dX"], X) == np.vdot(computed["dW"], W)
    assert computed["db"] @ np.ones(53) == np.vdot(dY, np.ones_like(dY))


def documented_sum(a, b, dtype):
    """Sum a_k b_k by the contract alone: blocks of BLOCK terms, each a chain of exact fma."""
    products = [Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a, b, strict=True)]
    blocks = []
    for start in range(0, len(products), sizes.BLOCK):
        block = Fraction(0)
        for term in products[start : start + sizes.BLOCK]:
            block = nearest(block + term, dtype)
        blocks.append(block)
    total = blocks[0]
    for block in blocks[1:]:
        total = nearest(total + block, dtype)
    return float(total)


def nearest(value, dtype):
    """Round a fraction to dtype, ties to even, once."""
    if dtype == np.float64:
        return Fraction(float(value))
    guess = np.float32(float(value))  # rounded twice, so perhaps one off
    around = [np.nextafter(guess, side, dtype=dtype) for side in (-np.inf, np.inf)]
    distance = {c: abs(Fraction(float(c)) - value) for c in (guess, *around)}
    return Fraction(float(min(distance, key=lambda c: (distance[c], c.view(np.int32) & 1))))


def mixed(rng, *shape, dtype):
    """Draw terms of mixed magnitude, where any other order shows in the last bits."""
    return (rng.uniform(-1, 1, shape) * 10.0 ** rng.integers(-2, 3, shape)).astype(dtype)


@pytest.mark.parametrize("name", ["loops", "tiled"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("terms", [3, sizes.BLOCK, sizes.BLOCK + 1, 2 * sizes.BLOCK + 77])
def test_the_documented_order(name, dtype, terms):
    rng = np.random.default_rng(terms)
    A, B = mixed(rng, 2, terms, dtype=dtype), mixed(rng, 3, terms, dtype=dtype)
    expected = np.array([[documented_sum(a, b, dtype) for b in B] for a in A])
    f = formulation(name)
    for sum_of_products, arguments in [
        (f.linear_forward, (A, B, None)),
        (f.linear_backward_weight, (A.T, B.T)),
        (f.linear_backward_input, (A, B.T)),
    ]:
        computed = blank(2, 3, dtype=dtype)
        sum_of_products(*arguments, computed)
        assert np.array_equal(computed, expected)
    db = blank(3, dtype=dtype)
    f.linear_backward_bias(B.T, db)
    assert db.tolist() == [documented_sum(b, np.ones(terms), dtype) for b in B]


@pytest.mark.parametrize("dtype", DTYPES)
def test_another_order_would_show(dtype):
    """Reversed terms, or blocks moved by one term, change the bits of many such sums."""
    reversed_, moved, draws = 0, 0, 20
    for seed in range(draws):
        a, b = mixed(np.random.default_rng(seed), 2, 2 * sizes.BLOCK + 77, dtype=dtype)
        right = documented_sum(a, b, dtype)
        reversed_ += right != documented_sum(a[::-1], b[::-1], dtype)
        moved += right != documented_sum([0, *a], [0, *b], dtype)
    assert min(reversed_, moved) > draws // 4
