"""NumPy as a contestant: what a careful user writes, outputs given and no temporary that can go."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from fastlinear.profile.cases import Array, Case, Data
from fastlinear.profile.contestants import Contestant, Run, filled


class NumPy(Contestant):
    """The matrix form in NumPy; GELU's error function is SciPy's."""

    def __init__(self) -> None:
        super().__init__("numpy")

    def prepare(self, case: Case, data: Data) -> Run | None:
        """Return the run of a case, or None where NumPy has no such function."""
        if case.activation == "gelu" and find_spec("scipy") is None:
            return None
        if case.activation is not None and case.activation not in PAIRS:
            return None
        return super().prepare(case, data)

    def Y(self, data: Data) -> Run:
        """Return the run of equation (2) without a bias."""
        Y = data.empty(data.case.S, data.case.N)
        return filled(partial(np.matmul, data.X, data.W.T, out=Y), Y=Y)

    def dW(self, data: Data) -> Run:
        """Return the run of equation (5)."""
        dW = data.empty(data.case.N, data.case.M)
        return filled(partial(np.matmul, data.dY.T, data.X, out=dW), dW=dW)

    def db(self, data: Data) -> Run:
        """Return the run of equation (10)."""
        db = data.empty(data.case.N)
        return filled(partial(np.sum, data.dY, axis=0, out=db), db=db)

    def dX(self, data: Data) -> Run:
        """Return the run of equation (15)."""
        dX = data.empty(data.case.S, data.case.M)
        return filled(partial(np.matmul, data.dY, data.W, out=dX), dX=dX)

    def predict(self, data: Data) -> Run:
        """Return the run of A = h(X W^T + b)."""
        X, W, b = data.X, data.W, data.b
        Z, A = np.empty_like(data.dY), np.empty_like(data.dY)
        h, _ = PAIRS[data.case.activation]

        def call() -> None:
            np.matmul(X, W.T, out=Z)
            np.add(Z, b, out=Z)
            h(Z, A)

        return filled(call, Y=A)

    def step(self, data: Data) -> Run:
        """Return the run of a forward and a backward pass."""
        X, W, b, dA = data.X, data.W, data.b, data.dY
        dX, dW, db = np.empty_like(X), np.empty_like(W), np.empty_like(b)
        Z, A, dZ, T = (np.empty_like(dA) for _ in range(4))
        h, pull_back = PAIRS[data.case.activation]

        def call() -> None:
            np.matmul(X, W.T, out=Z)
            np.add(Z, b, out=Z)
            h(Z, A)
            pull_back(dA, Z, A, dZ, T)
            np.matmul(dZ.T, X, out=dW)
            np.sum(dZ, axis=0, out=db)
            np.matmul(dZ, W, out=dX)

        return filled(call, Y=A, dX=dX, dW=dW, db=db)

    def activation(self, data: Data) -> Run:
        """Return the run of equation (16)."""
        h, _ = PAIRS[data.case.activation]
        Y = data.output("Y")
        return filled(partial(h, data.Z, Y), Y=Y)

    def activation_step(self, data: Data) -> Run:
        """Return the run of equations (16) and (19)."""
        h, pull_back = PAIRS[data.case.activation]
        Z, dY, (Y, dX, T) = data.Z, data.dY, map(data.output, ("Y", "dX", "T"))

        def call() -> None:
            h(Z, Y)
            pull_back(dY, Z, Y, dX, T)

        return filled(call, Y=Y, dX=dX)


class Copy(Contestant):
    """No arithmetic: NumPy moving as many bytes as an activation has to."""

    def __init__(self) -> None:
        super().__init__("copy")

    def activation(self, data: Data) -> Run:
        """Return a run that reads one array and writes one."""
        return Run(partial(np.copyto, data.output("Y"), data.Z), lambda _: {})

    def activation_step(self, data: Data) -> Run:
        """Return a run that copies one array and adds two others to a third."""
        Z, dY, Y, dX = data.Z, data.dY, data.output("Y"), data.output("dX")

        def call() -> None:
            np.copyto(Y, Z)
            np.add(dY, Z, out=dX)

        return Run(call, lambda _: {})


# ---- activations: h(Z, A) fills A; pull_back(dA, Z, A, dZ, T) fills dZ and may use T -------------

Pair = tuple[Callable[[Array, Array], Any], Callable[[Array, Array, Array, Array, Array], Any]]


def _sigmoid(Z: Array, A: Array) -> None:
    np.negative(Z, out=A)
    np.exp(A, out=A)
    np.add(A, 1, out=A)
    np.reciprocal(A, out=A)


def _sigmoid_back(dA: Array, Z: Array, A: Array, dZ: Array, T: Array) -> None:
    np.subtract(1, A, out=dZ)
    np.multiply(dZ, A, out=dZ)
    np.multiply(dZ, dA, out=dZ)


def _tanh_back(dA: Array, Z: Array, A: Array, dZ: Array, T: Array) -> None:
    np.multiply(A, A, out=dZ)
    np.subtract(1, dZ, out=dZ)
    np.multiply(dZ, dA, out=dZ)


def _elu(Z: Array, A: Array) -> None:
    np.minimum(Z, 0, out=A)
    np.expm1(A, out=A)
    np.maximum(Z, A, out=A)  # expm1(z) >= z, and 0 for the others


def _elu_back(dA: Array, Z: Array, A: Array, dZ: Array, T: Array) -> None:
    np.minimum(A, 0, out=dZ)
    np.add(dZ, 1, out=dZ)
    np.multiply(dZ, dA, out=dZ)


def _silu(Z: Array, A: Array) -> None:
    _sigmoid(Z, A)
    np.multiply(A, Z, out=A)


def _silu_back(dA: Array, Z: Array, A: Array, dZ: Array, T: Array) -> None:
    _sigmoid(Z, T)
    np.subtract(Z, A, out=dZ)
    np.add(dZ, 1, out=dZ)
    np.multiply(dZ, T, out=dZ)
    np.multiply(dZ, dA, out=dZ)


def _softplus_back(dA: Array, Z: Array, A: Array, dZ: Array, T: Array) -> None:
    _sigmoid(Z, dZ)
    np.multiply(dZ, dA, out=dZ)


def _normal(Z: Array, A: Array) -> None:
    """Fill A with the normal distribution's Phi(Z)."""
    import_module("scipy.special").ndtr(Z, out=A)


def _gelu(Z: Array, A: Array) -> None:
    _normal(Z, A)
    np.multiply(A, Z, out=A)


def _gelu_back(dA: Array, Z: Array, A: Array, dZ: Array, T: Array) -> None:
    np.multiply(Z, Z, out=dZ)
    np.multiply(dZ, -0.5, out=dZ)
    np.exp(dZ, out=dZ)
    np.multiply(dZ, (2 * np.pi) ** -0.5, out=dZ)
    np.multiply(dZ, Z, out=dZ)
    _normal(Z, T)
    np.add(dZ, T, out=dZ)
    np.multiply(dZ, dA, out=dZ)


PAIRS: dict[str | None, Pair] = {
    None: (lambda Z, A: np.copyto(A, Z), lambda dA, Z, A, dZ, T: np.copyto(dZ, dA)),
    "relu": (
        lambda Z, A: np.maximum(Z, 0, out=A),
        lambda dA, Z, A, dZ, T: np.multiply(dA, A > 0, out=dZ),
    ),
    "tanh": (lambda Z, A: np.tanh(Z, out=A), _tanh_back),
    "sigmoid": (_sigmoid, _sigmoid_back),
    "gelu": (_gelu, _gelu_back),
    "elu": (_elu, _elu_back),
    "silu": (_silu, _silu_back),
    "softplus": (lambda Z, A: np.logaddexp(Z, 0, out=A), _softplus_back),
}
