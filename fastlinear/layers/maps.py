"""`Map`, a layer without parameters whose result has the shape of its input, and `Softmax`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy import empty, ndarray  # found by name: each np. in a fast path takes 0.04 us

from fastlinear import kernels
from fastlinear.kernels import reductions
from fastlinear.kernels.apart import may_fill
from fastlinear.layers import checks
from fastlinear.layers.checks import Array
from fastlinear.layers.module import Module


class Map(Module):
    """A layer without parameters: X and Y have one shape and one dtype, float32 or float64."""

    _keeps_output: bool  # backward starts from Y; otherwise from X

    def __init__(self) -> None:
        self._maps: dict[np.dtype[Any], kernels.Map] = {}
        self._hadamards: dict[np.dtype[Any], kernels.Hadamard] = {}

    @abstractmethod
    def _map(self, dtype: np.dtype[Any]) -> kernels.Map:
        """Return what fills Y from X."""

    @abstractmethod
    def _hadamard(self, dtype: np.dtype[Any]) -> kernels.Hadamard:
        """Return what fills dX from dY and V, which is Y or X."""

    def _hold_map(self, dtype: np.dtype[Any]) -> kernels.Map:
        """Return `_map` for a dtype and keep it; the first call may compile it."""
        if dtype not in checks.FLOATS:
            return kernels.refuse
        self._maps[dtype] = run = self._map(dtype)
        return run

    def _hold_hadamard(self, dtype: np.dtype[Any]) -> kernels.Hadamard:
        """Return `_hadamard` for a dtype, as `_hold_map`."""
        self._hadamards[dtype] = run = self._hadamard(dtype)
        return run

    def forward(self, X: Array, *, out: Array | None = None) -> Array:
        """Return Y and keep X or Y, whichever the derivative is taken of.

        Parameters
        ----------
        X : ndarray
            Any shape.
        out : ndarray, optional
            Where to put Y.
        """
        if type(X) is ndarray and X.ndim == 2 and (out is None or type(out) is ndarray):
            Y = empty(X.shape, X.dtype) if out is None else out
            run = self._maps.get(X.dtype) or self._hold_map(X.dtype)
            if run(X, Y):
                kept, shape = Y if self._keeps_output else X, X.shape
                self._kept = (kept, kept, shape, shape)
                return Y
        return self._run(X, out, keep=True)

    def predict(self, X: Array, out: Array | None = None) -> Array:
        """Return Y, keeping nothing."""
        if type(X) is ndarray and X.ndim == 2 and (out is None or type(out) is ndarray):
            Y = empty(X.shape, X.dtype) if out is None else out
            run = self._maps.get(X.dtype) or self._hold_map(X.dtype)
            if run(X, Y):
                return Y
        return self._run(X, out, keep=False)

    def _run(self, X: Array, out: Array | None, keep: bool) -> Array:
        """Do what the fast path of `forward` and `predict` does not serve, or say what is wrong."""
        x = checks.array("X", X)
        rows = adjacent_rows(x)
        run = self._maps.get(x.dtype) or self._hold_map(x.dtype)
        for Y in checks.outputs(out, x.shape, x.dtype, (x,)):
            result = checks.as_rows(Y)
            if run(rows, result):
                if keep:
                    kept = result if self._keeps_output else checks.as_rows(x)
                    self._kept = (kept, kept, x.shape, x.shape)
                return checks.deliver(Y, out)
        raise TypeError(f"X: expected float32 or float64, got {X.dtype!r}")

    def backward(
        self,
        dY: Array,
        *,
        accumulate: bool = False,
        input_grad: bool = True,
        out: Array | None = None,
    ) -> Array | None:
        """Return dX; with ``input_grad=False`` there is nothing to do."""
        if type(dY) is ndarray and self._kept is not None and input_grad:
            V, _, shape, _ = self._kept
            if shape == dY.shape and (out is None or type(out) is ndarray):
                dX = empty(shape, dY.dtype) if out is None else out
                run = self._hadamards.get(V.dtype) or self._hold_hadamard(V.dtype)
                if run(dY, V, dX):
                    return dX
        return self._run_backward(dY, input_grad, out)

    def _run_backward(self, dY: Array, input_grad: bool, out: Array | None) -> Array | None:
        """Do what the fast path of `backward` does not serve, or say what is wrong."""
        checks.wanted(input_grad, out)
        dY = checks.array("dY", dY)
        shape = self._check_backward(dY.shape, dY.dtype)
        if not input_grad:
            return None
        V = self._kept[0]  # type: ignore[index]  # _check_backward found it
        run = self._hadamards.get(V.dtype) or self._hold_hadamard(V.dtype)
        for dX in checks.outputs(out, shape, dY.dtype, (dY, V)):
            if run(adjacent_rows(dY), adjacent_rows(V), checks.as_rows(dX)):
                return checks.deliver(dX, out)
        raise RuntimeError("backward: the dtype of an array that forward kept has changed")


def adjacent_rows(array: Array) -> Array:
    """Return an array as rows without gaps in memory, a copy where it is not."""
    return np.ascontiguousarray(checks.as_rows(array))


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

    def _map(self, dtype: np.dtype[Any]) -> kernels.Map:
        return _softmax

    def _hadamard(self, dtype: np.dtype[Any]) -> kernels.Hadamard:
        return _softmax_backward


def _softmax(X: Array, Y: Array) -> bool:
    fits = X.ndim == 2 and may_fill(Y, X.shape, X.dtype, (X,))
    if fits:
        reductions.softmax(np.ascontiguousarray(X), Y)
    return fits


def _softmax_backward(dY: Array, V: Array, dX: Array) -> bool:
    fits = dY.dtype == V.dtype and dY.ndim == 2 and dY.shape == V.shape
    fits = fits and may_fill(dX, V.shape, V.dtype, (dY, V))
    if fits:
        reductions.softmax_backward(np.ascontiguousarray(dY), V, dX)
    return fits
