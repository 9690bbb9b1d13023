"""`network` and `network_gradients` under NUMBA_DISABLE_JIT: the same steps on `loops`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlinear.kernels import loops
from fastlinear.kernels.borrowed import output_plane


def copy(one: Any, rows: int, columns: int, X: Any, Y: Any) -> None:
    """Y = X."""
    Y[...] = X


def affine_of(layer: Any, x: Any) -> Any:
    """Return X W^T + b, or a copy of X where W has no rows."""
    W, b, _ = layer
    if W.shape[0] == 0:
        return x.copy()
    z = np.empty((len(x), len(W)), x.dtype)
    loops.linear_forward(x, W, b if b.size else None, z)
    return z


def gradients(layer: Any, x: Any, dz: Any, dW: Any, db: Any, dx: Any) -> None:
    """Fill dW (4), db (9) and, unless dx is None, dX (14); without W, dX is dZ."""
    W, _, _ = layer
    if W.shape[0] > 0:
        loops.linear_backward_weight(dz, x, dW)
        if db.size > 0:
            loops.linear_backward_bias(dz, db)
        if dx is not None:
            loops.linear_backward_input(dz, W, dx)
    elif dx is not None:
        dx[...] = dz


def network(forward: Any) -> Any:
    """Return fn(params, x[, out]) made of the forward function of `network_gradients`."""

    def fn(params: Any, x: Any, out: Any = None) -> Any:
        Y = output_plane(x, out)
        y = forward(params, np.atleast_2d(x))[0]
        if out is not None and (Y.rows, Y.columns) != y.shape:
            raise ValueError("out: expected rows and columns", y.shape, "got", (Y.rows, Y.columns))
        y = y.reshape(*x.shape[:-1], y.shape[1])
        if out is None:
            return y
        out[...] = y
        return out

    return fn
