"""The three formulations behind one set of methods, so that they can be swapped under any layer.

Arrays are 2-D (b and db 1-D) and of one dtype; inputs may have any strides; outputs belong to the
caller, overlap no input and are overwritten. Layers check them; the passes that `hold_forward` and
`hold_backward` return tell by themselves whether dtypes and shapes fit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba.core import config
from numpy.typing import NDArray

from fastlinear.kernels import blas, elementwise, loops, passes, tiled
from fastlinear.kernels.activations import Pair

Array = NDArray[Any]

Forward = Callable[[Array, Array | None, Array], bool]
"""``run(X, V, A)``: A = h(X W^T + b) of a layer; what its backward needs beyond A goes to V, if
given. Returns whether the matrix X has the layer's dtype and M columns; does nothing otherwise."""

Backward = Callable[[Array, Array | None, Array, Array | None], bool]
"""``run(dA, V, X, dX)``: dW, db and dX, if given, of dA; V is what `Forward` kept: A if
``act.from_output``, else its V. Returns whether dtypes and shapes go together, and the columns of
dA are adjacent where that matters; does nothing otherwise."""


class BoundPair(Protocol):
    """An activation with its parameters: what a layer hands to a formulation."""

    pair: Pair
    p: float
    q: float
    from_output: bool
    """Whether h' is taken from the output A, so that nothing else need be kept."""

    def __hash__(self) -> int: ...


class Formulation(ABC):
    """The sums of one module, and the fused forward and backward pass composed of them."""

    name: str

    @abstractmethod
    def linear_forward(self, X: Array, W: Array, b: Array | None, Y: Array) -> None:
        """Y = X W^T + b, equation (2)."""

    @abstractmethod
    def linear_backward_weight(self, dY: Array, X: Array, dW: Array) -> None:
        """dW = dY^T X, equations (4) and (5)."""

    @abstractmethod
    def linear_backward_bias(self, dY: Array, db: Array) -> None:
        """db = column sums of dY, equations (9) and (10)."""

    @abstractmethod
    def linear_backward_input(self, dY: Array, W: Array, dX: Array) -> None:
        """dX = dY W, equations (14) and (15)."""

    @abstractmethod
    def activation_forward(self, act: BoundPair, X: Array, Y: Array) -> None:
        """Y = h(X), equation (16)."""

    @abstractmethod
    def activation_backward(self, act: BoundPair, dY: Array, V: Array, dX: Array) -> None:
        """dX = dY o h'(V), equations (18) and (19); V = Y if ``act.from_output``, else X."""

    def forward(
        self, X: Array, W: Array, b: Array | None, act: BoundPair | None, V: Array | None, A: Array
    ) -> None:
        """A = h(X W^T + b); what this formulation's backward needs beyond A goes to V, if given."""
        Z = A if V is None else V
        self.linear_forward(X, W, b, Z)
        if act is not None:
            self.activation_forward(act, Z, A)

    def backward(
        self,
        dA: Array,
        V: Array | None,
        act: BoundPair | None,
        X: Array,
        W: Array,
        dX: Array | None,
        dW: Array | None,
        db: Array | None,
    ) -> None:
        """dZ = dA o h'(Z), then dW, db and dX from dZ; an output that is None is skipped.

        V is what `forward` of the same formulation kept: A if ``act.from_output``, else its V.
        """
        dZ = dA
        if act is not None:
            assert V is not None
            dZ = np.empty_like(V)
            self.activation_backward(act, dA, V, dZ)
        if dW is not None:
            self.linear_backward_weight(dZ, X, dW)
        if db is not None:
            self.linear_backward_bias(dZ, db)
        if dX is not None:
            self.linear_backward_input(dZ, W, dX)

    def hold_forward(self, W: Array, b: Array | None, act: BoundPair | None) -> Forward:
        """Return `forward` of a layer, whose arrays stay where they are."""

        def run(X: Array, V: Array | None, A: Array) -> bool:
            fits = X.dtype == W.dtype and X.shape[1] == W.shape[1]
            if fits:
                self.forward(X, W, b, act, V, A)
            return fits

        return run

    def hold_backward(
        self, W: Array, dW: Array | None, db: Array | None, act: BoundPair | None
    ) -> Backward:
        """Return `backward` of a layer, whose arrays stay where they are."""

        def run(dA: Array, V: Array | None, X: Array, dX: Array | None) -> bool:
            N, M = W.shape
            dtypes = {a.dtype for a in (dA, V, X, W) if a is not None}
            outputs, inputs = (len(X), N), (len(X), M)
            fits = len(dtypes) == 1 and (dA.shape, X.shape) == (outputs, inputs)
            fits = fits and (V is None or V.shape == outputs) and (dX is None or dX.shape == inputs)
            if fits:
                self.backward(dA, V, act, X, W, dX, dW, db)
            return fits

        return run


class Loops(Formulation):
    """The index form: every step one plain loop nest of `kernels.loops`."""

    name = "loops"
    linear_forward = staticmethod(loops.linear_forward)
    linear_backward_weight = staticmethod(loops.linear_backward_weight)
    linear_backward_bias = staticmethod(loops.linear_backward_bias)
    linear_backward_input = staticmethod(loops.linear_backward_input)

    def activation_forward(self, act: BoundPair, X: Array, Y: Array) -> None:
        """Y_sm = h(X_sm), equation (16)."""
        loops.activation_forward(act.pair.h, X, *parameters(act, X.dtype), Y)

    def activation_backward(self, act: BoundPair, dY: Array, V: Array, dX: Array) -> None:
        """dX_sm = dY_sm h'(V_sm), equation (18)."""
        loops.activation_backward(derivative(act), dY, V, *parameters(act, V.dtype), dX)


class Blas(Formulation):
    """The matrix form: each product one call of NumPy's BLAS, h'(X) a matrix of its own."""

    name = "blas"
    linear_forward = staticmethod(blas.linear_forward)
    linear_backward_weight = staticmethod(blas.linear_backward_weight)
    linear_backward_bias = staticmethod(blas.linear_backward_bias)
    linear_backward_input = staticmethod(blas.linear_backward_input)

    def activation_forward(self, act: BoundPair, X: Array, Y: Array) -> None:
        """Y = h(X), equation (16)."""
        FORMULATIONS["tiled"].activation_forward(act, X, Y)

    def activation_backward(self, act: BoundPair, dY: Array, V: Array, dX: Array) -> None:
        """dX = dY o H with H = h'(V), equation (19)."""
        H = np.empty_like(dX)
        elementwise.run(derivative(act), V, H, *parameters(act, V.dtype))
        blas.activation_backward(dY, H, dX)


class Tiled(Formulation):
    """The same sums in register tiles, the activation fused in: see `kernels.passes`."""

    name = "tiled"

    linear_forward = staticmethod(tiled.linear_forward)
    linear_backward_weight = staticmethod(tiled.linear_backward_weight)
    linear_backward_bias = staticmethod(tiled.linear_backward_bias)
    linear_backward_input = staticmethod(tiled.linear_backward_input)

    def activation_forward(self, act: BoundPair, X: Array, Y: Array) -> None:
        """Y_sm = h(X_sm), equation (16)."""
        run = map_of(act, X.dtype)
        if not run(X, Y):
            run(elementwise.rows(X), Y)

    def activation_backward(self, act: BoundPair, dY: Array, V: Array, dX: Array) -> None:
        """dX_sm = dY_sm h'(V_sm), equation (18)."""
        run = hadamard_of(act, V.dtype)
        if not run(dY, V, dX):
            run(elementwise.rows(dY), elementwise.rows(V), dX)

    def forward(
        self, X: Array, W: Array, b: Array | None, act: BoundPair | None, V: Array | None, A: Array
    ) -> None:
        """A = h(X W^T + b), and h'(Z) to V, if given."""
        self.hold_forward(W, b, act)(X, V, A)

    def backward(
        self,
        dA: Array,
        V: Array | None,
        act: BoundPair | None,
        X: Array,
        W: Array,
        dX: Array | None,
        dW: Array | None,
        db: Array | None,
    ) -> None:
        """dZ = dA o h'(Z), formed once or where it is read, then dW, db and dX."""
        run = self.hold_backward(W, dW, db, act)
        if not run(dA, V, X, dX):
            run(elementwise.rows(dA), V, X, dX)

    def hold_forward(self, W: Array, b: Array | None, act: BoundPair | None) -> Forward:
        """Return `forward` of a layer, whose arrays stay where they are."""
        calls = forward_calls(act, W.dtype)
        return _held(passes.forward_entry(W.dtype), W, b, None, None, act, calls)

    def hold_backward(
        self, W: Array, dW: Array | None, db: Array | None, act: BoundPair | None
    ) -> Backward:
        """Return `backward` of a layer, whose arrays stay where they are."""
        calls = backward_calls(act, W.dtype)
        return _held(passes.backward_entry(W.dtype), W, None, dW, db, act, calls)


def _held(
    entry: Callable[..., bool],
    W: Array,
    b: Array | None,
    dW: Array | None,
    db: Array | None,
    act: BoundPair | None,
    calls: Calls,
) -> Callable[..., bool]:
    """Return a compiled pass with all that does not change bound to it, in one array."""
    arrays = W, None if b is None else np.ascontiguousarray(b), dW, db
    held = np.empty(passes.WORDS, passes.HELD)
    passes.hold_entry(W.dtype)(*arrays, *calls, *parameters(act, W.dtype), held)
    run = partial(entry, held)
    vars(run)["arrays"] = arrays  # whose addresses are held: they live as long as the pass
    return run


class Interpreted(Loops):
    """What stands for `Tiled` under NUMBA_DISABLE_JIT: the same bits, step by step."""

    name = "tiled"


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
def map_of(act: BoundPair, dtype: np.dtype[Any]) -> Callable[..., bool]:
    """Return ``run(X, Y)`` of an activation, compiled on first use; see `elementwise.run_map`."""
    return elementwise.map_of(act.pair.h, dtype, *parameters(act, dtype))


@lru_cache(maxsize=256)
def hadamard_of(act: BoundPair, dtype: np.dtype[Any]) -> Callable[..., bool]:
    """Return ``run(dY, V, dX)`` of an activation, as `map_of`."""
    return elementwise.hadamard_of(derivative(act), dtype, *parameters(act, dtype))


class Calls(NamedTuple):
    """Addresses of the kernels that a pass calls for its activation, or 0 for none."""

    h: int = 0
    both: int = 0
    hadamard: int = 0


@lru_cache(maxsize=256)
def forward_calls(act: BoundPair | None, dtype: np.dtype[Any]) -> Calls:
    """Compile, on first use, what the forward pass needs of an activation for a dtype."""
    if act is None:
        return Calls()
    pair = act.pair
    both = 0 if act.from_output else elementwise.both_address(pair.h, pair.h_prime, dtype)
    return Calls(h=elementwise.map_address(pair.h, dtype), both=both)


@lru_cache(maxsize=256)
def backward_calls(act: BoundPair | None, dtype: np.dtype[Any]) -> Calls:
    """Compile what the backward pass needs, as `forward_calls`: who only predicts waits less."""
    if act is None:
        return Calls()
    kept = act.pair.h_prime_output if act.from_output else elementwise.kept_derivative
    return Calls(hadamard=elementwise.hadamard_address(kept, dtype))


_DEFAULT = Interpreted() if config.DISABLE_JIT else Tiled()
FORMULATIONS: dict[str, Formulation] = {f.name: f for f in (_DEFAULT, Loops(), Blas())}


def formulation(name: str) -> Formulation:
    """Return the formulation called ``name``: "tiled", "loops" or "blas".

    Raises
    ------
    ValueError
        For another name, listing the valid ones.
    """
    try:
        return FORMULATIONS[name]
    except (KeyError, TypeError):
        raise ValueError(
            f"formulation must be one of {', '.join(map(repr, FORMULATIONS))}, got {name!r}"
        ) from None
