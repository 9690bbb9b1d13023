"""`Map`, a layer without parameters whose result has the shape of its input, and `Softmax`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from fastlinear.kernels import reductions
from fastlinear.layers import checks
from fastlinear.layers.checks import Array
from fastlinear.layers.module import Module


class Map(Module):
    """A layer without parameters: X and Y have one shape and one dtype, float32 or float64."""

    _keeps_output: bool  # backward starts from Y; otherwise from X

    @abstractmethod
    def _apply(self, X: Array, Y: Array) -> None:
        """Fill Y from X, both as rows."""

    @abstractmethod
    def _pull_back(self, dY: Array, V: Array, dX: Array) -> None:
        """Fill dX from dY and V, which is Y or X, all as rows."""

    def _run(self, X: Array, out: Array | None) -> tuple[Array, Array, Array]:
        """Return X as rows, Y as rows, and Y for the caller."""
        x = checks.array("X", X)
        if out is None and x.ndim == 2:  # nearly always: this is part of what a small array takes
            Y = np.empty(x.shape, x.dtype)
            self._apply(x, Y)
            return x, Y, Y
        rows = checks.as_rows(x)
        Y = checks.output(out, x.shape, x.dtype, (x,))
        result = checks.as_rows(Y)
        self._apply(rows, result)
        return rows, result, checks.deliver(Y, out)

    def forward(self, X: Array, *, out: Array | None = None) -> Array:
        """Return Y and keep X or Y, whichever the derivative is taken of.

        Parameters
        ----------
        X : ndarray
            Any shape.
        out : ndarray, optional
            Where to put Y.
        """
        rows, result, Y = self._run(X, out)
        kept = result if self._keeps_output else rows
        self._kept = (kept, kept, X.shape, X.shape)
        return Y

    def predict(self, X: Array, out: Array | None = None) -> Array:
        """Return Y, keeping nothing."""
        return self._run(X, out)[2]

    def backward(
        self,
        dY: Array,
        *,
        accumulate: bool = False,
        input_grad: bool = True,
        out: Array | None = None,
    ) -> Array | None:
        """Return dX; with ``input_grad=False`` there is nothing to do."""
        checks.wanted(input_grad, out)
        dY = checks.array("dY", dY)
        shape = self._check_backward(dY.shape, dY.dtype)
        if not input_grad:
            return None
        assert self._kept is not None
        V = self._kept[1]
        assert V is not None
        dX = checks.output(out, shape, dY.dtype, (dY, *self._kept_arrays()))
        self._pull_back(checks.as_rows(dY), V, checks.as_rows(dX))
        return checks.deliver(dX, out)


class Softmax(Map):
    """Y_j = exp(X_j) / sum_k exp(X_k) along the last axis.

    The largest X is subtracted first, so nothing overflows. backward is
    dX_j = Y_j (dY_j - sum_k dY_k Y_k), from Y. For training, `CrossEntropyLoss` takes logits and
    needs no Softmax before it.
    """

    _keeps_output = True

    def arguments(self) -> dict[str, Any]:
        """Return nothing: there are no arguments."""
        return {}

    def _apply(self, X: Array, Y: Array) -> None:
        reductions.softmax(np.ascontiguousarray(X), Y)

    def _pull_back(self, dY: Array, V: Array, dX: Array) -> None:
        reductions.softmax_backward(np.ascontiguousarray(dY), V, dX)
