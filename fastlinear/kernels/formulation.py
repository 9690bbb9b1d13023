"""The three formulations behind one set of methods, so that they can be swapped under any layer.

Arrays are 2-D (b and db 1-D) and of one dtype; inputs may have any strides; outputs belong to the
caller, overlap no input and are overwritten. Nothing is checked here: layers do that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba.core import config
from numpy.typing import NDArray

from fastlinear.kernels import blas, elementwise, loops, passes, tiled
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

    def hold(
        self, W: Array, b: Array | None, dW: Array | None, db: Array | None, act: BoundPair | None
    ) -> Passes:
        """Return the passes of a layer, whose arrays stay where they are."""
        return Passes(self, W, b, dW, db, act)


@dataclass(eq=False)
class Passes:
    """`forward` and `backward` of a formulation for one layer: its arrays and activation."""

    kernels: Formulation
    W: Array
    b: Array | None
    dW: Array | None
    db: Array | None
    act: BoundPair | None

    def forward(self, X: Array, V: Array | None, A: Array) -> bool:
        """A = h(X W^T + b); what `backward` needs beyond A goes to V, if given.

        Returns whether the matrix X has the layer's dtype and M columns; does nothing otherwise.
        """
        fits = X.dtype == self.W.dtype and X.shape[1] == self.W.shape[1]
        if fits:
            self.kernels.forward(X, self.W, self.b, self.act, V, A)
        return fits

    def backward(self, dA: Array, V: Array | None, X: Array, dX: Array | None) -> bool:
        """dW, db and dX of dA; V is what `forward` kept: A if ``act.from_output``, else its V.

        Returns whether dtypes and shapes go together; does nothing otherwise.
        """
        N, M = self.W.shape
        dtypes = {a.dtype for a in (dA, V, X, self.W) if a is not None}
        outputs, inputs = (len(X), N), (len(X), M)
        fits = len(dtypes) == 1 and (dA.shape, X.shape) == (outputs, inputs)
        fits = fits and (V is None or V.shape == outputs) and (dX is None or dX.shape == inputs)
        if fits:
            self.kernels.backward(dA, V, self.act, X, self.W, dX, self.dW, self.db)
        return fits


class Loops(Formulation):
    """The index form: every step one plain loop nest of `kernels.loops`."""

    name = "loops"
    linear_forward = staticmethod(loops.linear_forward)
    linear_backward_weight = staticmethod(loops.linear_backward_weight)
    linear_backward_bias = staticmethod(loops.linear_backward_bias)
    linear_backward_input = staticmethod(loops.linear_backward_input)

    def activation_forward(self, act: BoundPair, X: Array, Y: Array) -> None:
        """Y_sm = h(X_sm), equation (16)."""
        scalar = X.dtype.type
        loops.activation_forward(act.pair.h, X, scalar(act.p), scalar(act.q), Y)

    def activation_backward(self, act: BoundPair, dY: Array, V: Array, dX: Array) -> None:
        """dX_sm = dY_sm h'(V_sm), equation (18)."""
        scalar = V.dtype.type
        loops.activation_backward(derivative(act), dY, V, scalar(act.p), scalar(act.q), dX)


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
        scalar = V.dtype.type
        H = np.empty_like(dX)
        elementwise.run(derivative(act), V, H, scalar(act.p), scalar(act.q))
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
        bound = bind(act, X.dtype)
        elementwise.map_matrix(bound.h, X, Y, bound.p, bound.q)

    def activation_backward(self, act: BoundPair, dY: Array, V: Array, dX: Array) -> None:
        """dX_sm = dY_sm h'(V_sm), equation (18)."""
        bound = bind(act, V.dtype)
        kernel = elementwise.hadamard_address(derivative(act), V.dtype)
        elementwise.hadamard_matrix(kernel, dY, V, dX, bound.p, bound.q)

    def forward(
        self, X: Array, W: Array, b: Array | None, act: BoundPair | None, V: Array | None, A: Array
    ) -> None:
        """A = h(X W^T + b), and h'(Z) to V, if given."""
        self.hold(W, b, None, None, act).forward(X, V, A)

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
        """dZ = dA o h'(Z), formed where it is read, then dW, db and dX in one launch."""
        self.hold(W, None, dW, db, act).backward(dA, V, X, dX)

    def hold(
        self, W: Array, b: Array | None, dW: Array | None, db: Array | None, act: BoundPair | None
    ) -> Passes:
        """Return the passes of a layer, whose arrays stay where they are."""
        return TiledPasses(self, W, b, dW, db, act)


@dataclass(eq=False)
class TiledPasses(Passes):
    """The passes of `kernels.passes`: what does not change is handed to them in one array.

    It knows the addresses of the layer's arrays, which this object keeps alive.
    """

    def __post_init__(self) -> None:
        if self.b is not None:
            self.b = np.ascontiguousarray(self.b)
        bound = bind(self.act, self.W.dtype)
        self.nothing = bound.no_matrix
        self.held = np.empty(passes.WORDS, np.int64)
        passes.hold(
            self.W,
            bound.no_row if self.b is None else self.b,
            bound.no_matrix if self.dW is None else self.dW,
            bound.no_row if self.db is None else self.db,
            bound.h,
            bound.h_prime,
            bound.hadamard,
            bound.p,
            bound.q,
            self.held,
        )

    @cached_property
    def run_forward(self) -> Callable[..., bool]:
        """The compiled forward pass."""
        return passes.forward_entry(self.W.dtype)

    @cached_property
    def run_backward(self) -> Callable[..., bool]:
        """The compiled backward pass."""
        return passes.backward_entry(self.W.dtype)

    def forward(self, X: Array, V: Array | None, A: Array) -> bool:
        """A = h(X W^T + b), and h'(Z) to V, if given; whether X fits, as `Passes.forward`."""
        return self.run_forward(X, self.nothing if V is None else V, A, self.held)

    def backward(self, dA: Array, V: Array | None, X: Array, dX: Array | None) -> bool:
        """dW, db and dX of dA, with dZ = dA o h'(Z) formed where it is read; see `Passes`."""
        others = self.nothing if V is None else V, X, self.nothing if dX is None else dX, self.held
        if self.run_backward(dA, *others):
            return True
        # Where dZ is to be formed, dA's columns must be adjacent.
        return dA.ndim == 2 and self.run_backward(elementwise.rows(dA), *others)


class Interpreted(Loops):
    """What stands for `Tiled` under NUMBA_DISABLE_JIT: the same bits, step by step."""

    name = "tiled"


def derivative(act: BoundPair) -> Any:
    """Return the h' that belongs to what an activation layer keeps."""
    return act.pair.h_prime_output if act.from_output else act.pair.h_prime


class Bound(NamedTuple):
    """What the compiled passes take for one activation and dtype: addresses, or 0 for none."""

    h: int
    h_prime: int
    hadamard: int
    p: Any
    q: Any
    no_row: Array
    no_matrix: Array


@lru_cache(maxsize=256)
def bind(act: BoundPair | None, dtype: np.dtype[Any]) -> Bound:
    """Compile, on first use, what an activation (or none) needs for a dtype."""
    zero = dtype.type(0)
    nothing = np.empty(0, dtype), np.empty((0, 0), dtype)
    if act is None:
        return Bound(0, 0, 0, zero, zero, *nothing)
    kept = act.pair.h_prime_output if act.from_output else elementwise.kept_derivative
    return Bound(
        elementwise.map_address(act.pair.h, dtype),
        0 if act.from_output else elementwise.map_address(act.pair.h_prime, dtype),
        elementwise.hadamard_address(kept, dtype),
        dtype.type(act.p),
        dtype.type(act.q),
        *nothing,
    )


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
