"""Element-wise updates: gradient accumulation and the optimisers' rules.

Each takes rows of one dtype and length (`flat` makes them), which it changes in place, and scalars
that were computed in float64 and are rounded to that dtype once. `fma` marks the products that are
added without a rounding of their own. Kernels trust their inputs; layers and optimisers check them.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from numpy.typing import NDArray

from fastlinear.kernels.fma import fma
from fastlinear.kernels.jit import compiled
from fastlinear.kernels.ranges import run

Array = NDArray[Any]


def flat(array: Array) -> Array:
    """View a C- or Fortran-contiguous array as one row, in memory order."""
    return array.ravel(order="K")


def add(total: Array, term: Array) -> None:
    """Add term to total."""
    run(_add, total.size, 1, total, term)


def sgd(w: Array, g: Array, lr: float, decay: float) -> None:
    """Stochastic gradient descent: w -= lr (g + decay w)."""
    run(_sgd, w.size, 1, w, g, -lr, decay)


def momentum(
    w: Array, g: Array, v: Array, lr: float, decay: float, momentum: float, nesterov: bool
) -> None:
    """Stochastic gradient descent with momentum, PyTorch's form.

    g' = g + decay w;  v = momentum v + g';  w -= lr v,
    or, with ``nesterov``, w -= lr (g' + momentum v). v starts at zero.
    """
    run(_momentum, w.size, 1, w, g, v, -lr, decay, momentum, nesterov)


def adam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    step: float,
    betas: tuple[float, float],
    root: float,
    eps: float,
    decay: float,
    shrink: float,
) -> None:
    """Adam and AdamW, PyTorch's form.

    g' = g + decay w;  w *= shrink;  m += (1 - beta1) (g' - m);  v = beta2 v + (1 - beta2) g'^2;
    w -= step m / (sqrt(v) / root + eps), with step = lr / (1 - beta1^t) and
    root = sqrt(1 - beta2^t) at step t. Adam has shrink = 1; AdamW has decay = 0 and
    shrink = 1 - lr weight_decay. m and v start at zero.
    """
    run(_adam, w.size, 1, w, g, m, v, -step, *betas, root, eps, decay, shrink)


# Slices, not w[start + i]: from there on LLVM knows that no index is negative, and vectorises.


@compiled
def _add(start, stop, total, term):
    total, term = total[start:stop], term[start:stop]
    for i in range(total.size):
        total[i] += term[i]


@compiled
def _sgd(start, stop, w, g, step, decay):
    w, g = w[start:stop], g[start:stop]
    real = w.dtype.type
    step, decay = real(step), real(decay)
    for i in range(w.size):
        w[i] = fma(step, fma(decay, w[i], g[i]), w[i])


@compiled
def _momentum(start, stop, w, g, v, step, decay, momentum, nesterov):
    w, g, v = w[start:stop], g[start:stop], v[start:stop]
    real = w.dtype.type
    step, decay, momentum = real(step), real(decay), real(momentum)
    for i in range(w.size):
        gradient = fma(decay, w[i], g[i])
        v[i] = fma(momentum, v[i], gradient)
        direction = fma(momentum, v[i], gradient) if nesterov else v[i]
        w[i] = fma(step, direction, w[i])


@compiled
def _adam(start, stop, w, g, m, v, step, beta1, beta2, root, eps, decay, shrink):
    w, g, m, v = w[start:stop], g[start:stop], m[start:stop], v[start:stop]
    real = w.dtype.type
    rate1, rate2 = real(1.0 - beta1), real(1.0 - beta2)
    step, beta2, root, eps = real(step), real(beta2), real(root), real(eps)
    decay, shrink = real(decay), real(shrink)
    for i in range(w.size):
        gradient = fma(decay, w[i], g[i])
        m[i] = fma(rate1, gradient - m[i], m[i])
        v[i] = fma(rate2, gradient * gradient, beta2 * v[i])
        w[i] = fma(step, m[i] / (sqrt(v[i]) / root + eps), w[i] * shrink)
