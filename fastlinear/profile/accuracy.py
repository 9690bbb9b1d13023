"""How exact a result is, in units of the bound that is proven for the documented order."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fastlinear.kernels.sizes import BLOCK
from fastlinear.layers.activation import resolve
from fastlinear.profile.cases import Array, Data

SAMPLE = 48
"""Rows and columns of a result that are computed anew: all of a small one."""


H_ULP = 4
"""Units in the last place that every h is exact to: see the docstrings of `kernels.vecmath`."""


def gamma(terms: int, dtype: np.dtype[Any]) -> float:
    """Return gamma_k = k u / (1 - k u) for a sum of that many terms in blocks of BLOCK.

    k counts the roundings of one element: those of a block, one for each block, and the bias.
    """
    k = min(terms, BLOCK) + -(-terms // BLOCK) + 1
    u = float(np.finfo(dtype).eps) / 2
    return k * u / (1 - k * u)


def error(data: Data, result: Array) -> float | None:
    """Return max |computed - exact| / bound over a sample of the result; step and predict give A.

    The bound of a sum C = A B is gamma_k |A| |B|. That of an activation is H_ULP, and where a
    product comes before it, the product's times the largest |h'| as well. Exact is what a wider
    dtype gives: float64 for float32, long double for float64. None where there is no wider dtype,
    or no h for it.
    """
    case = data.case
    wide: Any = np.dtype(np.float64 if result.dtype == np.float32 else np.longdouble)
    h = resolve(case.activation)
    if np.finfo(wide).eps >= np.finfo(result.dtype).eps or (h and wide != np.float64):
        return None
    C = result.reshape(-1, result.shape[-1])
    rng = np.random.default_rng(0)
    i, j = (rng.permutation(size)[:SAMPLE] for size in C.shape)
    if case.elementwise:
        exact, bound = data.Z[np.ix_(i, j)].astype(wide), np.zeros((), wide)
    else:
        A, B, bias = _operands(data)
        a, b, c = A[i].astype(wide), B[:, j].astype(wide), bias[j].astype(wide)
        exact = a @ b + c
        bound = gamma(A.shape[1], result.dtype) * (np.abs(a) @ np.abs(b) + np.abs(c))
    if h:
        exact = h.predict(exact)
        spacing = np.spacing(np.abs(exact).astype(result.dtype)).astype(wide)
        bound = _steepest(case.activation) * bound + H_ULP * spacing
    difference = np.abs(C[np.ix_(i, j)].astype(wide) - exact)
    return float(np.max(difference / np.where(bound > 0, bound, 1), initial=0))


@cache
def _steepest(activation: str | None) -> float:
    """Return the largest |h'| of a grid that holds its extrema; 1 for the identity."""
    h = resolve(activation)
    if h is None:
        return 1.0
    x = np.linspace(-20, 20, 40001)[None]
    h.forward(x)
    derivative = h.backward(np.ones_like(x))
    assert derivative is not None
    return float(np.abs(derivative).max())


def _operands(data: Data) -> tuple[Array, Array, Array]:
    """Return A, B and the bias of the case's product, see `fastlinear.kernels.product`."""
    case = data.case
    if case.quantity == "dW":
        A, B = data.dY.T, data.X
    elif case.quantity == "dX":
        A, B = data.dY, data.W
    elif case.quantity == "db":
        A, B = np.ones((1, case.S), data.dY.dtype), data.dY
    else:
        A, B = data.X, data.W.T
    biased = case.quantity in ("step", "predict")
    return A, B, data.b if biased else np.zeros(B.shape[1], B.dtype)
