"""What is measured: a product at a shape, the arrays it takes, and the work that is in it."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlinear.kernels.alignment import aligned_copy

Array = NDArray[Any]
Order = Literal["C", "F"]
Shape = tuple[int, int, int]
"""S samples, M to N features."""

DTYPES = ("float32", "float64")

PRODUCTS = ("Y", "dW", "dX")
"""The sums of S M N multiply-adds."""

QUANTITIES = (*PRODUCTS, "db", "predict", "step", "activation", "activation step")
"""All that is measured: `predict` is a layer's forward pass alone, `step` its forward and backward
pass; the last two are the element-wise module without a product."""

STREAMS = ("db", "activation", "activation step")
"""Those that read every number once, so that reading and writing decide how long they take."""


class Case(NamedTuple):
    """One quantity at one shape: X (S, M), W (N, M), Y (S, N); activations are of (S, N)."""

    quantity: str
    S: int
    M: int
    N: int
    dtype: str = "float32"
    activation: str | None = None

    @property
    def label(self) -> str:
        """Shape, and activation where there is one."""
        shape = f"{self.S}x{self.N}" if self.elementwise else f"{self.S}x{self.M}x{self.N}"
        return f"{shape} {self.activation}" if self.activation else shape

    @property
    def elementwise(self) -> bool:
        """Whether the quantity is an activation by itself."""
        return self.quantity.startswith("activation")

    @property
    def result(self) -> str:
        """Name of the result whose error is measured."""
        return self.quantity if self.quantity in (*PRODUCTS, "db") else "Y"

    @property
    def flops(self) -> int:
        """Floating-point operations of the sums, a multiply-add counting as two."""
        S, M, N = self.S, self.M, self.N
        if self.elementwise:
            return 0
        if self.quantity == "db":
            return S * N
        return (3 if self.quantity == "step" else 1) * 2 * S * M * N

    @property
    def bytes(self) -> int:
        """Least traffic: every operand read once and every result written once."""
        S, M, N = self.S, self.M, self.N
        X, W, Y = S * M, N * M, S * N
        elements = {
            "Y": X + W + Y,
            "dW": Y + X + W,
            "dX": Y + W + X,
            "db": Y + N,
            "predict": X + W + N + Y,
            "step": 2 * (X + W + N + Y),
            "activation": 2 * Y,
            "activation step": 5 * Y,
        }[self.quantity]
        return elements * np.dtype(self.dtype).itemsize

    @property
    def intensity(self) -> float:
        """Floating-point operations for each byte of the least traffic."""
        return self.flops / self.bytes


class Data:
    """The arrays of a case, drawn when first asked for: uniform, so that every mantissa is full."""

    def __init__(self, case: Case, seed: int = 0, outputs: dict[str, Array] | None = None) -> None:
        self.case = case
        self.seed = seed
        self.outputs: dict[str, Array] = {} if outputs is None else outputs

    def _draw(self, stream: int, *shape: int, scale: float = 1.0) -> Array:
        """Draw an array, which is the same whatever else was drawn before."""
        rng = np.random.default_rng((self.seed, stream))
        return rng.uniform(-scale, scale, shape).astype(self.case.dtype)

    def empty(self, *shape: int, order: Order = "C") -> Array:
        """Return an output."""
        return np.empty(shape, self.case.dtype, order)

    def output(self, name: str) -> Array:
        """Return the output of an activation (S, N) with this name, the same for all who ask."""
        return self.outputs.setdefault(name, self.empty(self.case.S, self.case.N))

    @cached_property
    def X(self) -> Array:
        """Inputs (S, M)."""
        return self._draw(1, self.case.S, self.case.M)

    @cached_property
    def W(self) -> Array:
        """Weights (N, M), scaled so that Z stays where activations bend."""
        return self._draw(2, self.case.N, self.case.M, scale=self.case.M**-0.5)

    @cached_property
    def _W_layer(self) -> Array:
        return aligned_copy(self.W)

    def weight(self, order: Order) -> Array:
        """Return W in memory order "C", or in a layer's own, "F"."""
        return self.W if order == "C" else self._W_layer

    @cached_property
    def b(self) -> Array:
        """Bias (N,)."""
        return self._draw(3, self.case.N)

    @cached_property
    def dY(self) -> Array:
        """Gradient of the outputs (S, N)."""
        return self._draw(4, self.case.S, self.case.N)

    @cached_property
    def Z(self) -> Array:
        """Input of an activation (S, N)."""
        return self._draw(5, self.case.S, self.case.N, scale=4.0)
