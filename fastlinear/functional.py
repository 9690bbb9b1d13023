"""The Linear module without a layer: arrays in, arrays out, nothing kept."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy import empty, ndarray

from fastlinear import kernels
from fastlinear.kernels import Held
from fastlinear.layers import checks
from fastlinear.layers.activation import NAMES, ElementWise, resolve
from fastlinear.layers.checks import FLOATS, Array


def linear(
    X: Array,
    W: Array,
    b: Array | None = None,
    *,
    activation: str | ElementWise | None = None,
    formulation: str = "tiled",
    out: Array | None = None,
) -> Array:
    """Return h(X W^T + b), equations (2) and (17).

    Parameters
    ----------
    X : ndarray
        Shape (..., M), float32 or float64; all arrays have its dtype.
    W : ndarray
        Shape (N, M).
    b : ndarray, optional
        Shape (N,).
    activation : str or activation, optional
        h; None for none.
    formulation : str
        "tiled", "loops" or "blas".
    out : ndarray, optional
        Where to put the result, shape (..., N).

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape differs, a name is unknown or ``out`` overlaps an input.
    """
    run, h = kernels.formulation(formulation), _activation(activation)
    plain = (b is None or type(b) is ndarray) and (out is None or type(out) is ndarray)
    if plain and _are_matrices(X, W):
        # The fast path: the pass looks at dtypes and shapes, and whether it may write to ``out``.
        A = empty((len(X), len(W)), W.dtype) if out is None else out
        if run.hold_forward(Held(W, b, None, None), h)(X, None, A):
            return A
    W, rows = _weight_and_rows(W, "X", X, 1)
    if b is not None:
        b = checks.same_shape(
            "b", checks.array("b", b, W.dtype), W.shape[:1], "one for each row of W"
        )
    A = checks.output(out, (*X.shape[:-1], W.shape[0]), W.dtype, (X, W, b))
    run.forward(rows, W, b, h, None, checks.as_rows(A))
    return checks.deliver(A, out)


def linear_backward(
    dY: Array, X: Array, W: Array, *, formulation: str = "tiled"
) -> tuple[Array, Array, Array]:
    """Return dX (14), dW (4) and db (9) of Y = X W^T + b.

    Parameters
    ----------
    dY : ndarray
        Shape (..., N).
    X : ndarray
        Shape (..., M), with the leading axes of dY.
    W : ndarray
        Shape (N, M).
    formulation : str
        "tiled", "loops" or "blas".

    Returns
    -------
    dX : ndarray
        The shape of X.
    dW : ndarray
        Shape (N, M).
    db : ndarray
        Shape (N,).

    Raises
    ------
    TypeError, ValueError
        Where a dtype or shape differs or the formulation is unknown.
    """
    run = kernels.formulation(formulation)
    if _are_matrices(dY, X, W):
        dX, dW, db = empty(X.shape, W.dtype), empty(W.shape, W.dtype), empty(len(W), W.dtype)
        if run.hold_backward(Held(W, None, dW, db), None)(dY, None, X, dX):
            return dX, dW, db
    W, rows = _weight_and_rows(W, "X", X, 1)
    _, gradients = _weight_and_rows(W, "dY", dY, 0)
    checks.same_shape("dY", dY, (*X.shape[:-1], W.shape[0]), "the leading axes of X, then N")
    dX = np.empty(X.shape, W.dtype)
    dW = np.empty(W.shape, W.dtype)
    db = np.empty(W.shape[0], W.dtype)
    run.backward(gradients, None, None, rows, W, checks.as_rows(dX), dW, db)
    return dX, dW, db


def _activation(activation: str | ElementWise | None) -> ElementWise | None:
    """Return what `resolve` does, always the same object for a built-in activation's name."""
    if isinstance(activation, str) and activation in NAMES:
        return _built_in(activation)
    return resolve(activation)


@cache
def _built_in(name: str) -> ElementWise | None:
    """Return a built-in activation: a new one, whose kernels are looked up, took 14 us a call."""
    return resolve(name)


def _are_matrices(*arrays: Any) -> bool:
    """Return whether all are 2-D arrays, the last of them of float32 or float64."""
    for array in arrays:
        if type(array) is not ndarray or array.ndim != 2:
            return False
    return arrays[-1].dtype in FLOATS


def _weight_and_rows(W: Array, name: str, X: Any, axis: int) -> tuple[Array, Array]:
    """Return W and X as rows, after checking that X ends with axis ``axis`` of W."""
    X = checks.array(name, X)
    W = checks.array("W", W, X.dtype)
    if W.ndim != 2:
        raise ValueError(f"W: expected shape (N, M), got {W.shape}")
    return W, checks.as_rows(checks.last_axis(name, X, W.shape[axis]))
