"""The losses: `forward` returns L as a float, `backward` dL/dX for what `forward` was given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastlinear.kernels import reductions
from fastlinear.layers import checks
from fastlinear.layers.checks import Array, Shape


class Loss(ABC):
    """A function of predictions X and a target.

    `forward` keeps references to what `backward` needs: do not change X, nor an MSE's target, until
    then.

    Parameters
    ----------
    reduction : str
        "mean" or "sum" of the terms. The mean of none is NaN, as in PyTorch.

    Raises
    ------
    ValueError
        For another ``reduction``.
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = checks.one_of("reduction", reduction, ("mean", "sum"))
        self.clear_cache()

    @abstractmethod
    def forward(self, X: Array, target: Any) -> float:
        """Return L and keep what `backward` needs."""

    @abstractmethod
    def _pull_back(self, kept: tuple[Any, ...], dX: Array) -> None:
        """Fill dX, as rows."""

    def __call__(self, X: Array, target: Any) -> float:
        """Return ``self.forward(X, target)``."""
        return self.forward(X, target)

    def backward(self, *, out: Array | None = None) -> Array:
        """Return dL/dX of the last `forward`, of the shape and dtype of its X.

        Raises
        ------
        RuntimeError
            Without a `forward` before.
        ValueError, TypeError
            Where ``out`` does not fit or overlaps what is read; where X or the target has another
            shape or dtype by now. Nothing has been written then.
        """
        if self._kept is None:
            raise RuntimeError(f"{type(self).__name__}.backward needs a forward before it")
        given, *kept = self._kept
        for name, array, shape, dtype in given:
            if (array.shape, array.dtype) != (shape, dtype):
                raise ValueError(
                    f"{name}: forward was given {dtype} of shape {shape}, which is now "
                    f"{array.dtype} of shape {array.shape}; change it after backward only"
                )
        _, _, shape, dtype = given[0]
        dX = checks.output(out, shape, dtype, kept)
        self._pull_back(tuple(kept), checks.as_rows(dX))
        return checks.deliver(dX, out)

    def clear_cache(self) -> None:
        """Drop what `forward` kept."""
        # X (and a target), each with name, shape and dtype, for its owner may change these; then
        # what `_pull_back` takes.
        self._kept: tuple[Any, ...] | None = None

    def _scale(self, terms: int) -> float:
        """Return what each term of the sum is multiplied by."""
        if self.reduction == "sum":
            return 1.0
        return 1.0 / terms if terms else float("nan")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reduction={self.reduction!r})"


def _given(**arrays: Array) -> tuple[tuple[str, Array, Shape, np.dtype[Any]], ...]:
    """Return arrays with their names, shapes and dtypes of now."""
    return tuple((name, array, array.shape, array.dtype) for name, array in arrays.items())


class CrossEntropyLoss(Loss):
    """L = mean over samples of log(sum_j exp(X_j)) - X_label, X the logits.

    No softmax comes before it. Loss and gradient are computed without cancellation, so that they
    keep their relative accuracy for confident predictions too: see `fastlinear.kernels.reductions`.
    """

    def forward(self, X: Array, target: ArrayLike) -> float:
        """Return L and keep the logits, and a copy of the labels.

        Parameters
        ----------
        X : ndarray
            Logits, shape (..., C), float32 or float64.
        target : integers
            The label of each sample, shape (...), from 0 to C - 1.

        Raises
        ------
        TypeError, ValueError
            Where a dtype or shape differs, or a label is no class.
        """
        X = checks.array("X", X)
        if X.ndim == 0 or X.shape[-1] == 0:
            raise ValueError(f"X: expected shape (..., classes), got {X.shape}")
        rows = np.ascontiguousarray(checks.as_rows(X))
        labels = _labels(target, X.shape)
        tops = np.empty(len(rows), np.int64)
        rests = np.empty(len(rows), X.dtype)
        total = reductions.cross_entropy(rows, labels, tops, rests)
        self._kept = (_given(X=X), rows, labels, tops, rests)
        return total * self._scale(len(rows))

    def _pull_back(self, kept: tuple[Any, ...], dX: Array) -> None:
        X, labels, tops, rests = kept
        reductions.cross_entropy_backward(X, labels, tops, rests, self._scale(len(dX)), dX)


def _labels(target: ArrayLike, shape: Shape) -> Array:
    """Return a copy of the labels of logits of ``shape``, checked, as one row of int64.

    `backward` writes where they say.
    """
    labels = checks.unmasked("labels", target)
    if labels.size == 0 and not isinstance(target, np.ndarray):
        labels = labels.astype(np.int64)  # a list without elements has no dtype of its own
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels: expected integers, got {labels.dtype}")
    checks.same_shape("labels", labels, shape[:-1], f"one for each row of logits {shape}")
    row = labels.reshape(-1).astype(np.int64)
    wrong = reductions.first_outside(row, shape[-1])
    if wrong >= 0:
        raise ValueError(
            f"labels: expected 0 to {shape[-1] - 1}, got {labels.reshape(-1)[wrong]} "
            f"at index {wrong}"
        )
    return row


class MSELoss(Loss):
    """L = mean over elements of (X - target)^2."""

    def forward(self, X: Array, target: Array) -> float:
        """Return L and keep both arrays.

        Parameters
        ----------
        X, target : ndarray
            One shape, one dtype, float32 or float64. Nothing is broadcast.

        Raises
        ------
        TypeError, ValueError
            Where a dtype or shape differs.
        """
        X = checks.array("X", X)
        target = checks.array("target", target, X.dtype)
        checks.same_shape("target", target, X.shape, "that of X")
        x, t = (np.ascontiguousarray(array).reshape(-1) for array in (X, target))
        self._kept = (_given(X=X, target=target), x, t)
        total = reductions.squared_error(x, t)
        return total * self._scale(prod(X.shape))

    def _pull_back(self, kept: tuple[Any, ...], dX: Array) -> None:
        x, target = kept
        scale = 2.0 * self._scale(dX.size)
        reductions.squared_error_backward(x, target, scale, dX.reshape(-1))
