"""How exact a sum is, in units of the bound that is proven for the documented order."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlinear.kernels.sizes import BLOCK
from fastlinear.profile.cases import Array, Data

SAMPLE = 48
"""Rows and columns of a result that are computed anew: all of a small one."""


def gamma(terms: int, dtype: np.dtype[Any]) -> float:
    """Return gamma_k = k u / (1 - k u) for a sum of that many terms in blocks of BLOCK.

    k counts the roundings of one element: those of a block, one for each block, and the bias.
    """
    k = min(terms, BLOCK) + -(-terms // BLOCK) + 1
    u = float(np.finfo(dtype).eps) / 2
    return k * u / (1 - k * u)


def error(data: Data, result: Array) -> float | None:
    """Return max |computed - exact| / (gamma_k |A| |B|) over a sample of C = A B.

    Exact is what a wider dtype gives: float64 for float32, long double for float64. None for other
    quantities than sums, and where there is no wider dtype.
    """
    operands = _operands(data)
    wide: Any = np.dtype(np.float64 if result.dtype == np.float32 else np.longdouble)
    if operands is None or np.finfo(wide).eps >= np.finfo(result.dtype).eps:
        return None
    A, B = operands
    C = result.reshape(A.shape[0], B.shape[1])
    rng = np.random.default_rng(0)
    i = rng.permutation(C.shape[0])[:SAMPLE]
    j = rng.permutation(C.shape[1])[:SAMPLE]
    a, b = A[i].astype(wide), B[:, j].astype(wide)
    difference = np.abs(C[np.ix_(i, j)].astype(wide) - a @ b)
    bound = gamma(A.shape[1], result.dtype) * (np.abs(a) @ np.abs(b))
    return float(np.max(difference / np.where(bound > 0, bound, 1), initial=0))


def _operands(data: Data) -> tuple[Array, Array] | None:
    """Return A and B of the case's product, as in the table of `fastlinear.kernels.product`."""
    quantity = data.case.quantity
    if quantity == "Y":
        return data.X, data.W.T
    if quantity == "dW":
        return data.dY.T, data.X
    if quantity == "dX":
        return data.dY, data.W
    if quantity == "db":
        return np.ones((1, data.case.S), data.dY.dtype), data.dY
    return None
