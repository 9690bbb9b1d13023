"""What the tests of layers, of networks and of kernels in nopython code share."""

from __future__ import annotations

import numpy as np
from shapes import uniform

import fastlinear as fl


def sample(*shape: int, dtype: type = np.float32, seed: int = 0) -> np.ndarray:
    return uniform(np.random.default_rng(seed), *shape, dtype=dtype)


def integers(shape, seed: int, dtype: type = np.float32) -> np.ndarray:
    """Small integers as floats: sums of their products are exact, in any order."""
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)


def cube(x):
    return x**3


def cube_prime(x):
    return 3 * x**2


def users_activation() -> fl.Activation:
    return fl.Activation(cube, cube_prime)
