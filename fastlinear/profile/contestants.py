"""Who is measured: the formulations of this library, by themselves and in a layer.

A contestant has a method for each quantity it takes part in (``activation_step`` for "activation
step"), which gets the arrays ready and returns a `Run`. All that is allocated once in a training
loop is allocated there; what a library allocates in each call is its own affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import fastlinear as fl
from fastlinear import kernels
from fastlinear.layers.activation import ElementWise, resolve
from fastlinear.profile.cases import PRODUCTS, Array, Case, Data, Order

LOOPS_WORK = 2**29
"""Multiply-adds above which the plain loops are left out: a call would take more than a second."""


ORDERS: dict[str, Order] = {"tiled": "F", "loops": "F", "blas": "C"}
"""In which memory order each formulation meets the weights: a layer's own, or NumPy's."""


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
    """The kernels of a formulation, weights in order "C" or in a layer's own, "F"."""

    def __init__(self, formulation: str, order: Order = "C") -> None:
        super().__init__(formulation)
        self.order = order
        self.kernels = kernels.formulation(formulation)

    def Y(self, data: Data) -> Run:
        """Return the run of equation (2) without a bias."""
        Y = data.empty(data.case.S, data.case.N)
        return filled(
            partial(self.kernels.linear_forward, data.X, data.weight(self.order), None, Y), Y=Y
        )

    def dW(self, data: Data) -> Run:
        """Return the run of equation (4)."""
        dW = data.empty(data.case.N, data.case.M, order=self.order)
        return filled(partial(self.kernels.linear_backward_weight, data.dY, data.X, dW), dW=dW)

    def db(self, data: Data) -> Run:
        """Return the run of equation (9)."""
        db = data.empty(data.case.N)
        return filled(partial(self.kernels.linear_backward_bias, data.dY, db), db=db)

    def dX(self, data: Data) -> Run:
        """Return the run of equation (14)."""
        dX = data.empty(data.case.S, data.case.M)
        W = data.weight(self.order)
        return filled(partial(self.kernels.linear_backward_input, data.dY, W, dX), dX=dX)

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
        """Return the run of equation (16), of an activation layer."""
        Y = data.output("Y")
        return filled(partial(self.activation_layer(data).predict, data.Z, Y), Y=Y)

    def activation_step(self, data: Data) -> Run:
        """Return the run of equations (16) and (18), of an activation layer."""
        act, Z, dY = self.activation_layer(data), data.Z, data.dY
        Y, dX = data.output("Y"), data.output("dX")

        def call() -> None:
            act.forward(Z, out=Y)
            act.backward(dY, out=dX)

        return filled(call, Y=Y, dX=dX)

    def activation_layer(self, data: Data) -> ElementWise:
        """Return the activation of a case by itself."""
        act = resolve(data.case.activation)
        assert act is not None
        act.formulation = self.kernels.name
        return act


class LayerOrder(Kernels):
    """The products alone, in the memory order of a layer's weights, under a name of its own."""

    def __init__(self, formulation: str) -> None:
        super().__init__(formulation, order="F")
        self.name = f"{formulation} F"

    def prepare(self, case: Case, data: Data) -> Run | None:
        """Return the run of a case if it is one of the products."""
        return super().prepare(case, data) if case.quantity in PRODUCTS else None


def takes_too_long(name: str, case: Case) -> bool:
    """Return whether a contestant is left out of a case because nobody would wait for it."""
    return name == "loops" and case.flops > 2 * LOOPS_WORK
