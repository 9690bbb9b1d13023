"""The matrix form in NumPy: each sum handed whole to BLAS, for comparison.

The order of the sums is the library's own, so results agree with ``loops`` and ``tiled`` only up
to rounding. Inputs are trusted, outputs overwritten.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def linear_forward(X: Array, W: Array, b: Array | None, Y: Array) -> None:
    """Y = X W^T + B, equation (2): X (S, M), W (N, M), b (N,) or None, Y (S, N)."""
    np.matmul(X, W.T, out=Y)
    if b is not None:
        Y += b


def linear_backward_weight(dY: Array, X: Array, dW: Array) -> None:
    """dW = dY^T X, equation (5): dY (S, N), X (S, M), dW (N, M)."""
    np.matmul(dY.T, X, out=dW)


def linear_backward_bias(dY: Array, db: Array) -> None:
    """db = column sums of dY, equation (10): dY (S, N), db (N,)."""
    np.sum(dY, axis=0, out=db)


def linear_backward_input(dY: Array, W: Array, dX: Array) -> None:
    """dX = dY W, equation (15): dY (S, N), W (N, M), dX (S, M)."""
    np.matmul(dY, W, out=dX)


def activation_backward(dY: Array, H: Array, dX: Array) -> None:
    """dX = dY o H with H = h'(X), equation (19): all (S, M)."""
    np.multiply(dY, H, out=dX)
