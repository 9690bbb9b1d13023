"""What ``fastlinear check`` differentiates: every layer, activation and loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import fastlinear as fl
from fastlinear.layers.activation import NAMES

ACTIVATIONS: dict[str, Callable[[], Any]] = {
    **NAMES,
    "threshold": partial(fl.Threshold, 0.5, 2.0),  # it has no defaults
}
"""Every activation by name."""


class GradientCase(NamedTuple):
    """A module or loss with the point where its gradient is checked."""

    label: str
    module: Any
    X: Any
    target: Any = None


def cases() -> Iterator[GradientCase]:
    """Yield every case, on small inputs that reach both sides of each kink."""
    rng = np.random.default_rng(0)
    X = 2 * rng.standard_normal((6, 5))
    for name in ("tiled", "loops", "blas"):
        yield GradientCase(f"Linear, {name}", fl.Linear(5, 4, rng=1, formulation=name), X)
    yield GradientCase("Linear without bias", fl.Linear(5, 4, bias=False, rng=1), X)
    for name in ("relu", "tanh", "gelu"):  # h' from A, from A, from Z
        yield GradientCase(f"Linear with {name}", fl.Linear(5, 4, activation=name, rng=1), X)
    for name, make in ACTIVATIONS.items():
        yield GradientCase(name, make(), X)
    yield GradientCase("Softmax", fl.Softmax(), X)
    layers = (fl.Linear(5, 7, rng=2), fl.Mish(), fl.Linear(7, 3, rng=3), fl.Softmax())
    yield GradientCase("Sequential", fl.Sequential(*layers), X)
    yield GradientCase("MLP", fl.MLP([5, 8, 6, 3], activation="elu", rng=4), X)
    for reduction in ("mean", "sum"):
        labels = rng.integers(0, 5, 6)
        yield GradientCase(
            f"CrossEntropyLoss, {reduction}", fl.CrossEntropyLoss(reduction), X, labels
        )
        yield GradientCase(f"MSELoss, {reduction}", fl.MSELoss(reduction), X, X[::-1] + 1)
