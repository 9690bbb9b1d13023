"""Who is measured: the formulations of this library, a layer of it, and NumPy.

A contestant has a method for each quantity it takes part in (``activation_step`` for "activation
step"), which gets the arrays ready and returns a `Run`. All that is allocated once in a training
loop is allocated there; what a library allocates in each call is its own affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import fastlinear as fl
from fastlinear import kernels
from fastlinear.layers.activation import resolve
from fastlinear.profile.cases import Array, Case, Data


class Run(NamedTuple):
    """A call to time, and how to get its results from what it returned."""

    call: Callable[[], Any]
    results: Callable[[Any], Mapping[str, Any]]


def filled(call: Callable[[], Any], **outputs: Array) -> Run:
    """Return the run of a call that fills ``outputs``."""
    return Run(call, lambda _: outputs)


class Contestant:
    """One that may take part."""

    def __init__(self, name: str) -> None:
        self.name = name

    def prepare(self, case: Case, data: Data) -> Run | None:
        """Return the run of a case, or None if this one does not take part in it."""
        method = getattr(self, case.quantity.replace(" ", "_"), None)
        return None if method is None else method(data)


class Kernels(Contestant):
    """The kernels of a formulation on plain arrays."""

    def __init__(self, formulation: str) -> None:
        super().__init__(formulation)
        self.kernels = kernels.formulation(formulation)

    def Y(self, data: Data) -> Run:
        """Return the run of equation (2) without a bias."""
        Y = data.empty(data.case.S, data.case.N)
        return filled(partial(self.kernels.linear_forward, data.X, data.W, None, Y), Y=Y)

    def dW(self, data: Data) -> Run:
        """Return the run of equation (4)."""
        dW = data.empty(data.case.N, data.case.M)
        return filled(partial(self.kernels.linear_backward_weight, data.dY, data.X, dW), dW=dW)

    def db(self, data: Data) -> Run:
        """Return the run of equation (9)."""
        db = data.empty(data.case.N)
        return filled(partial(self.kernels.linear_backward_bias, data.dY, db), db=db)

    def dX(self, data: Data) -> Run:
        """Return the run of equation (14)."""
        dX = data.empty(data.case.S, data.case.M)
        return filled(partial(self.kernels.linear_backward_input, data.dY, data.W, dX), dX=dX)

    def layer(self, data: Data) -> fl.Linear:
        """Return a layer with the weights of the case."""
        case = data.case
        layer = fl.Linear(
            case.M,
            case.N,
            activation=case.activation,
            dtype=case.dtype,
            init="zeros",
            formulation=self.kernels.name,
        )
        layer.load_state_dict({"weight": data.W, "bias": data.b})
        return layer

    def predict(self, data: Data) -> Run:
        """Return the run of a layer's forward pass for use without training."""
        return Run(partial(self.layer(data).predict, data.X), lambda A: {"Y": A})

    def step(self, data: Data) -> Run:
        """Return the run of a layer's forward and backward pass."""
        layer, X, dY = self.layer(data), data.X, data.dY

        def call() -> Any:
            return layer.forward(X), layer.backward(dY)

        def results(returned: Any) -> dict[str, Any]:
            A, dX = returned
            return {"Y": A, "dX": dX, "dW": layer.grads["weight"], "db": layer.grads["bias"]}

        return Run(call, results)

    def activation(self, data: Data) -> Run:
        """Return the run of equation (16)."""
        act, Y = _activation(data.case), np.empty_like(data.Z)
        return filled(partial(self.kernels.activation_forward, act, data.Z, Y), Y=Y)

    def activation_step(self, data: Data) -> Run:
        """Return the run of equations (16) and (18)."""
        act, Z, dY = _activation(data.case), data.Z, data.dY
        Y, dX = np.empty_like(Z), np.empty_like(Z)
        V = Y if act.from_output else Z
        forward, backward = self.kernels.activation_forward, self.kernels.activation_backward

        def call() -> None:
            forward(act, Z, Y)
            backward(act, dY, V, dX)

        return filled(call, Y=Y, dX=dX)


class LayerOrder(Kernels):
    """The same on the memory order of a layer's own weights and their gradient."""

    def __init__(self, formulation: str) -> None:
        super().__init__(formulation)
        self.name = f"{formulation} F"

    def Y(self, data: Data) -> Run:
        """Return the run of equation (2) without a bias."""
        Y = data.empty(data.case.S, data.case.N)
        return filled(partial(self.kernels.linear_forward, data.X, data.W_layer, None, Y), Y=Y)

    def dW(self, data: Data) -> Run:
        """Return the run of equation (4)."""
        dW = data.empty(data.case.N, data.case.M, order="F")
        return filled(partial(self.kernels.linear_backward_weight, data.dY, data.X, dW), dW=dW)

    def dX(self, data: Data) -> Run:
        """Return the run of equation (14)."""
        dX = data.empty(data.case.S, data.case.M)
        return filled(partial(self.kernels.linear_backward_input, data.dY, data.W_layer, dX), dX=dX)

    # The order is the layer's in these, and there is none in those, so they are no others.
    db = predict = step = activation = activation_step = None  # type: ignore[assignment]


def _activation(case: Case) -> Any:
    """Return the activation of a case."""
    act = resolve(case.activation)
    assert act is not None
    return act


class NumPy(Contestant):
    """What a careful user of NumPy writes: outputs given, no temporary that can be avoided."""

    def __init__(self) -> None:
        super().__init__("numpy")

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

    def predict(self, data: Data) -> Run | None:
        """Return the run of A = h(X W^T + b)."""
        pair = _numpy_pair(data.case.activation)
        if pair is None:
            return None
        h, _ = pair
        X, W, b = data.X, data.W, data.b
        A = data.empty(data.case.S, data.case.N)

        def call() -> None:
            np.matmul(X, W.T, out=A)
            np.add(A, b, out=A)
            h(A, A)

        return filled(call, Y=A)

    def step(self, data: Data) -> Run | None:
        """Return the run of a forward and a backward pass."""
        pair = _numpy_pair(data.case.activation)
        if pair is None:
            return None
        h, pull_back = pair
        X, W, b, dY, dX, dW = data.X, data.W, data.b, data.dY, *map(np.empty_like, (data.X, data.W))
        Z, A, dZ, db = *(np.empty_like(dY) for _ in range(3)), np.empty_like(b)

        def call() -> None:
            np.matmul(X, W.T, out=Z)
            np.add(Z, b, out=Z)
            h(Z, A)
            pull_back(dY, Z, A, dZ)
            np.matmul(dZ.T, X, out=dW)
            np.sum(dZ, axis=0, out=db)
            np.matmul(dZ, W, out=dX)

        return filled(call, Y=A, dX=dX, dW=dW, db=db)

    def activation(self, data: Data) -> Run | None:
        """Return the run of equation (16)."""
        pair = _numpy_pair(data.case.activation)
        if pair is None:
            return None
        Y = np.empty_like(data.Z)
        return filled(partial(pair[0], data.Z, Y), Y=Y)

    def activation_step(self, data: Data) -> Run | None:
        """Return the run of equations (16) and (19)."""
        pair = _numpy_pair(data.case.activation)
        if pair is None:
            return None
        h, pull_back = pair
        Z, dY, Y, dX = data.Z, data.dY, np.empty_like(data.Z), np.empty_like(data.Z)

        def call() -> None:
            h(Z, Y)
            pull_back(dY, Z, Y, dX)

        return filled(call, Y=Y, dX=dX)


class Copy(Contestant):
    """No arithmetic: NumPy moving as many bytes as an activation has to."""

    def __init__(self) -> None:
        super().__init__("copy")

    def activation(self, data: Data) -> Run:
        """Return a run that reads one array and writes one."""
        return Run(partial(np.copyto, np.empty_like(data.Z), data.Z), lambda _: {})

    def activation_step(self, data: Data) -> Run:
        """Return a run that copies one array and adds two others to a third."""
        Z, dY, Y, dX = data.Z, data.dY, np.empty_like(data.Z), np.empty_like(data.Z)

        def call() -> None:
            np.copyto(Y, Z)
            np.add(dY, Z, out=dX)

        return Run(call, lambda _: {})


# ---- activations in NumPy: h(Z, A) fills A, pull_back(dA, Z, A, dZ) fills dZ ----------------------

Pair = tuple[Callable[[Array, Array], Any], Callable[[Array, Array, Array, Array], Any]]


def _numpy_pair(name: str | None) -> Pair | None:
    """Return h and dZ = dA o h'(Z) by name; None where NumPy alone cannot compute it."""
    if name == "gelu":
        return _gelu_pair()
    return _NUMPY_PAIRS.get(name)


def _sigmoid(Z: Array, A: Array) -> None:
    np.negative(Z, out=A)
    np.exp(A, out=A)
    np.add(A, 1, out=A)
    np.reciprocal(A, out=A)


def _sigmoid_back(dA: Array, Z: Array, A: Array, dZ: Array) -> None:
    np.subtract(1, A, out=dZ)
    np.multiply(dZ, A, out=dZ)
    np.multiply(dZ, dA, out=dZ)


def _tanh_back(dA: Array, Z: Array, A: Array, dZ: Array) -> None:
    np.multiply(A, A, out=dZ)
    np.subtract(1, dZ, out=dZ)
    np.multiply(dZ, dA, out=dZ)


def _elu(Z: Array, A: Array) -> None:
    negative = np.minimum(Z, 0)
    np.maximum(Z, 0, out=A)
    np.add(A, np.expm1(negative, out=negative), out=A)


def _elu_back(dA: Array, Z: Array, A: Array, dZ: Array) -> None:
    np.minimum(A, 0, out=dZ)
    np.add(dZ, 1, out=dZ)
    np.multiply(dZ, dA, out=dZ)


def _silu(Z: Array, A: Array) -> None:
    S = np.empty_like(Z)
    _sigmoid(Z, S)
    np.multiply(Z, S, out=A)


def _silu_back(dA: Array, Z: Array, A: Array, dZ: Array) -> None:
    S = np.empty_like(Z)
    _sigmoid(Z, S)
    np.subtract(Z, A, out=dZ)
    np.add(dZ, 1, out=dZ)
    np.multiply(dZ, S, out=dZ)
    np.multiply(dZ, dA, out=dZ)


def _softplus_back(dA: Array, Z: Array, A: Array, dZ: Array) -> None:
    _sigmoid(Z, dZ)
    np.multiply(dZ, dA, out=dZ)


def _gelu_pair() -> Pair | None:
    """Return the exact GELU, whose error function NumPy has from SciPy."""
    try:
        from scipy.special import ndtr
    except ModuleNotFoundError:
        return None

    def h(Z: Array, A: Array) -> None:
        np.multiply(Z, ndtr(Z), out=A)

    def pull_back(dA: Array, Z: Array, A: Array, dZ: Array) -> None:
        np.multiply(Z, Z, out=dZ)
        np.multiply(dZ, -0.5, out=dZ)
        np.exp(dZ, out=dZ)
        np.multiply(dZ, (2 * np.pi) ** -0.5, out=dZ)
        np.multiply(dZ, Z, out=dZ)
        np.add(dZ, ndtr(Z), out=dZ)
        np.multiply(dZ, dA, out=dZ)

    return h, pull_back


_NUMPY_PAIRS: dict[str | None, Pair] = {
    None: (
        lambda Z, A: None if Z is A else np.copyto(A, Z),
        lambda dA, Z, A, dZ: np.copyto(dZ, dA),
    ),
    "relu": (
        lambda Z, A: np.maximum(Z, 0, out=A),
        lambda dA, Z, A, dZ: np.multiply(dA, A > 0, out=dZ),
    ),
    "tanh": (lambda Z, A: np.tanh(Z, out=A), _tanh_back),
    "sigmoid": (_sigmoid, _sigmoid_back),
    "elu": (_elu, _elu_back),
    "silu": (_silu, _silu_back),
    "softplus": (lambda Z, A: np.logaddexp(Z, 0, out=A), _softplus_back),
}
