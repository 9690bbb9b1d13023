"""Initial weights: PyTorch's formulas, drawn from a NumPy Generator.

A weight of shape (N, M) has fan_in = M and fan_out = N. Uniform draws lie in [-a, a), normal ones
have mean 0 and standard deviation s:

===============  ===================================  =======================
name             a or s                               default gain
===============  ===================================  =======================
kaiming_uniform  a = gain sqrt(3 / fan_in)            sqrt(2)
kaiming_normal   s = gain sqrt(1 / fan_in)            sqrt(2)
xavier_uniform   a = gain sqrt(6 / (fan_in+fan_out))  1
xavier_normal    s = gain sqrt(2 / (fan_in+fan_out))  1
zeros            0
===============  ===================================  =======================

The gains are the defaults of `torch.nn.init`; sqrt(2) is the one that keeps the variance through
ReLU. Numbers are drawn in float64, in index order of (N, M) whatever the memory order, and rounded
once to the dtype: one seed gives one network, up to that rounding. All take the shape (N, M), an
``rng`` (None, a seed or a Generator) and the dtype; those that draw raise ValueError for another
shape and TypeError for another ``rng``.

Sources: He et al. 2015, arXiv:1502.01852, eq. (14); Glorot and Bengio 2010, eq. (12), (16).
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Rng = int | np.random.Generator | None


def generator(rng: Rng) -> np.random.Generator:
    """Return the Generator that ``rng`` is or seeds (None: from the operating system)."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise TypeError(
            f"rng: expected None, an integer of at least 0 or a numpy.random.Generator, got {rng!r}"
        ) from None


def _fans(shape: Any) -> tuple[int, int]:
    """Return fan_in and fan_out of the shape of a weight."""
    if not (isinstance(shape, tuple | list) and len(shape) == 2 and min(shape) >= 1):
        raise ValueError(f"shape: expected (N, M), both at least 1, got {shape!r}")
    return shape[1], shape[0]


def _uniform(shape: tuple[int, int], bound: float, rng: Rng, dtype: DTypeLike) -> Array:
    return generator(rng).uniform(-bound, bound, shape).astype(dtype)


def _normal(shape: tuple[int, int], std: float, rng: Rng, dtype: DTypeLike) -> Array:
    return generator(rng).normal(0.0, std, shape).astype(dtype)


def kaiming_uniform(
    shape: tuple[int, int],
    rng: Rng = None,
    *,
    gain: float = sqrt(2),
    dtype: DTypeLike = np.float32,
) -> Array:
    """Return uniform draws within gain sqrt(3 / fan_in)."""
    return _uniform(shape, gain * sqrt(3 / _fans(shape)[0]), rng, dtype)


def kaiming_normal(
    shape: tuple[int, int],
    rng: Rng = None,
    *,
    gain: float = sqrt(2),
    dtype: DTypeLike = np.float32,
) -> Array:
    """Return normal draws of standard deviation gain sqrt(1 / fan_in)."""
    return _normal(shape, gain * sqrt(1 / _fans(shape)[0]), rng, dtype)


def xavier_uniform(
    shape: tuple[int, int], rng: Rng = None, *, gain: float = 1.0, dtype: DTypeLike = np.float32
) -> Array:
    """Return uniform draws within gain sqrt(6 / (fan_in + fan_out))."""
    return _uniform(shape, gain * sqrt(6 / sum(_fans(shape))), rng, dtype)


def xavier_normal(
    shape: tuple[int, int], rng: Rng = None, *, gain: float = 1.0, dtype: DTypeLike = np.float32
) -> Array:
    """Return normal draws of standard deviation gain sqrt(2 / (fan_in + fan_out))."""
    return _normal(shape, gain * sqrt(2 / sum(_fans(shape))), rng, dtype)


def zeros(shape: tuple[int, int], rng: Rng = None, *, dtype: DTypeLike = np.float32) -> Array:
    """Return zeros; ``rng`` is not used."""
    return np.zeros(shape, dtype, order="F")  # as a layer holds it: no copy, no memory touched


def bias(features: tuple[int, int], rng: Rng = None, *, dtype: DTypeLike = np.float32) -> Array:
    """Return N uniform draws within 1 / sqrt(fan_in), as PyTorch's Linear does for its bias."""
    inputs, outputs = _fans(features)
    bound = 1 / sqrt(inputs)
    return generator(rng).uniform(-bound, bound, outputs).astype(dtype)


INITIALISERS: dict[str, Callable[..., Array]] = {
    function.__name__: function
    for function in (kaiming_uniform, kaiming_normal, xavier_uniform, xavier_normal, zeros)
}
