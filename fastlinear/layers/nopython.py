"""Networks as functions for a user's own nopython code: see `Module.as_jit`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numba.core import config

from fastlinear.kernels import interpreted, network, network_gradients
from fastlinear.kernels.alignment import aligned_copy
from fastlinear.kernels.bound import derivative, parameters
from fastlinear.layers.activation import ElementWise
from fastlinear.layers.checks import Array
from fastlinear.layers.linear import Linear
from fastlinear.layers.maps import Softmax
from fastlinear.layers.sequential import leaves

if TYPE_CHECKING:
    from fastlinear.layers.module import Module

Function = Callable[..., Any]
Arrays = tuple[Array, ...]


def as_jit(module: Module) -> tuple[Function, Arrays]:
    """Return fn and params, as `Module.as_jit` describes them."""
    if config.DISABLE_JIT:
        forward, _, arrays, _ = jit_backward(module)
        return interpreted.network(forward), arrays
    stages: list[Any] = []
    params: list[Array] = []
    for layer, act in _layers(module):
        if isinstance(layer, Softmax):
            stages.append(network.softmax_stage)
        else:
            stages.append(network.linear_stage if act is None else network.map_stage(act.pair.h))
        params.extend(_params(layer, act, module.dtype))
    return network.network(tuple(stages)), _ready(params)


def jit_backward(module: Module) -> tuple[Function, Function, Arrays, Arrays]:
    """Return forward, backward, params and grads, as `Module.jit_backward` describes them."""
    stages: list[Any] = []
    params: list[Array] = []
    for layer, act in _layers(module):
        if isinstance(layer, Softmax):
            stages.append(network_gradients.SOFTMAX)
        elif act is None:
            stages.append(network_gradients.LINEAR)
        else:
            stages.append(network_gradients.map_stage(act.pair.h, derivative(act), act.from_output))
        params.extend(_params(layer, act, module.dtype))
    forward, backward = network_gradients.network_gradients(tuple(stages))
    if not config.DISABLE_JIT:
        network_gradients.prepare(params[0].dtype.type(1))
    grads = tuple(np.zeros_like(a) for i, a in enumerate(params) if i % 3 < 2)
    return forward, backward, _ready(params), grads


def _layers(module: Module) -> Iterator[tuple[Module, ElementWise | None]]:
    """Yield each layer with its activation: the one fused in, or itself."""
    if module.dtype is None:
        raise ValueError(
            f"{type(module).__name__}: expected a network with a Linear layer, which gives it a "
            f"dtype"
        )
    for layer in leaves((module,)):
        if isinstance(layer, Linear):
            yield layer, layer.activation
        elif isinstance(layer, ElementWise):
            yield layer, layer
        elif isinstance(layer, Softmax):
            yield layer, None
        else:
            raise TypeError(
                f"{type(layer).__name__}: expected Linear, an activation or Softmax as layers"
            )


def _params(layer: Module, act: ElementWise | None, dtype: np.dtype[Any] | None) -> Arrays:
    """Return W, b and (p, q) of one layer; W and b without elements where it has none."""
    assert dtype is not None
    weight, bias = layer.params.get("weight"), layer.params.get("bias")
    W = np.empty((0, 0), dtype, order="F") if weight is None else aligned_copy(weight)
    b = np.empty(0, dtype) if bias is None else bias.copy()
    return W, b, np.array(parameters(act, dtype), dtype)


def _ready(params: list[Array]) -> Arrays:
    """Return params as a tuple, once the kernels that the functions call are in memory.

    A function that the user's own cache brings back cannot ask for them while its threads run.
    """
    if not config.DISABLE_JIT:
        network.prepare(params[0].dtype.type(1))
    return tuple(params)
