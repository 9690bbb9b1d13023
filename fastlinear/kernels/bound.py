"""Compiled passes with what stays the same from call to call: an activation, a layer's arrays.

All is looked up by activation and dtype, so that a second layer with the same compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastlinear.kernels import elementwise, passes
from fastlinear.kernels.activations import Pair

Array = NDArray[Any]


class BoundPair(Protocol):
    """An activation with its parameters: what a layer hands to a formulation."""

    pair: Pair
    p: float
    q: float
    from_output: bool
    """Whether h' is taken from the output A, so that nothing else need be kept."""

    def __hash__(self) -> int: ...


class Held(NamedTuple):
    """The arrays of a layer, which stay where they are; None for what is not there or wanted.

    W is a float32 or float64 matrix, and the gradients have the shapes of what they are of. Whether
    b goes with W a pass finds out, and that it has no gaps.
    """

    W: Array
    b: Array | None
    dW: Array | None
    db: Array | None


def derivative(act: BoundPair) -> Any:
    """Return the h' that belongs to what an activation layer keeps."""
    return act.pair.h_prime_output if act.from_output else act.pair.h_prime


@lru_cache(maxsize=256)
def parameters(act: BoundPair | None, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return p and q of an activation in a dtype; 0 for none.

    Raises
    ------
    ValueError
        Where a finite one is beyond the dtype: infinite, it would make 0 * p a NaN.
    """
    given = (0.0, 0.0) if act is None else (act.p, act.q)
    with np.errstate(over="ignore"):
        p, q = map(dtype.type, given)
    if np.isinf((p, q)).tolist() != np.isinf(given).tolist():
        raise ValueError(f"{act!r}: expected parameters within {dtype}, got {given}")
    return p, q


@lru_cache(maxsize=256)
def map_of(act: BoundPair, dtype: np.dtype[Any], checked: bool = False) -> Callable[..., bool]:
    """Return ``run(X, Y)`` of an activation, compiled on first use; see `elementwise.run_map`."""
    return elementwise.map_of(act.pair.h, dtype, *parameters(act, dtype), checked)


@lru_cache(maxsize=256)
def hadamard_of(act: BoundPair, dtype: np.dtype[Any], checked: bool = False) -> Callable[..., bool]:
    """Return ``run(dY, V, dX)`` of an activation, as `map_of`."""
    return elementwise.hadamard_of(derivative(act), dtype, *parameters(act, dtype), checked)


class Pass(NamedTuple):
    """A compiled pass of an activation, or none, for a dtype."""

    store: Callable[..., bool]
    run: Callable[..., bool]
    settings: tuple[Any, ...]
    """What `passes.hold` takes of an activation: three addresses of kernels or 0, p and q."""


@lru_cache(maxsize=256)
def forward_pass(act: BoundPair | None, dtype: np.dtype[Any]) -> Pass:
    """Compile, on first use, what the forward pass needs of an activation for a dtype."""
    h = both = 0
    if act is not None:
        h = elementwise.map_address(act.pair.h, dtype)
        if not act.from_output:
            both = elementwise.both_address(act.pair.h, act.pair.h_prime, dtype)
    settings = (h, both, 0, *parameters(act, dtype))
    return Pass(passes.hold_entry(dtype), passes.forward_entry(dtype), settings)


@lru_cache(maxsize=256)
def backward_pass(act: BoundPair | None, dtype: np.dtype[Any]) -> Pass:
    """Compile what the backward pass needs, as `forward_pass`: who only predicts waits less."""
    hadamard = 0
    if act is not None:
        kept = act.pair.h_prime_output if act.from_output else elementwise.kept_derivative
        hadamard = elementwise.hadamard_address(kept, dtype)
    settings = (0, 0, hadamard, *parameters(act, dtype))
    return Pass(passes.hold_entry(dtype), passes.backward_entry(dtype), settings)


def hold(compiled_pass: Pass, held: Held) -> Callable[..., bool]:
    """Return a compiled pass with all that does not change bound to it, in one array."""
    store, run, settings = compiled_pass
    words = np.empty(passes.WORDS, passes.HELD)
    if not store(*held, *settings, words):
        return refuse
    bound = partial(run, words)
    vars(bound)["arrays"] = held  # whose addresses are held: they live as long as the pass
    return bound


def refuse(*arrays: Array | None) -> bool:
    """Stand for a pass over arrays that do not go together."""
    return False
