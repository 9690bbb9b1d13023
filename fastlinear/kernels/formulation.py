"""The three formulations behind one set of methods, so that they can be swapped under any layer.

Arrays are 2-D (b and db 1-D) and of one dtype; inputs may have any strides; outputs belong to the
caller, overlap no input and are overwritten. Layers check them; what the ``hold`` methods return
tells by itself whether dtypes, shapes and outputs fit, and does nothing otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import config

from fastlinear.kernels import blas, elementwise, loops, tiled
from fastlinear.kernels.apart import may_fill
from fastlinear.kernels.bound import (
    Array,
    BoundPair,
    Held,
    backward_pass,
    derivative,
    forward_pass,
    hadamard_of,
    hold,
    map_of,
    parameters,
)

Forward = Callable[[Array, Array | None, Array], bool]
"""``run(X, V, A)``: A = h(X W^T + b) of a layer; what its backward needs beyond A goes to V, if
given. Returns whether the matrix X has the layer's dtype and M columns, and A can take the result:
its shape, without gaps, writeable, apart from X and the layer's arrays."""

Backward = Callable[[Array, Array | None, Array, Array | None], bool]
"""``run(dA, V, X, dX)``: dW, db and dX, if given, of dA; V is what `Forward` kept: A if
``act.from_output``, else its V. Returns whether dtypes and shapes go together, the columns of dA
are adjacent where that matters, and dX can take the result, as in `Forward`."""

Map = Callable[[Array, Array], bool]
"""``run(X, Y)``: Y = h(X). Returns whether dtypes and shapes go together, the columns of X are
adjacent where that matters, and Y can take the result."""

Hadamard = Callable[[Array, Array, Array], bool]
"""``run(dY, V, dX)``: dX = dY o h'(V). Returns whether they fit, as in `Map`."""


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

    def hold_forward(self, held: Held, act: BoundPair | None) -> Forward:
        """Return `forward` of a layer."""
        W, b = held.W, held.b

        def run(X: Array, V: Array | None, A: Array) -> bool:
            N, M = W.shape
            fits = X.dtype == W.dtype and X.shape[1] == M
            fits = fits and (b is None or (b.dtype == W.dtype and b.shape == (N,)))
            fits = fits and may_fill(A, (len(X), N), W.dtype, (X, *held))
            if fits:
                self.forward(X, W, b, act, V, A)
            return fits

        return run

    def hold_backward(self, held: Held, act: BoundPair | None) -> Backward:
        """Return `backward` of a layer."""
        W, _, dW, db = held

        def run(dA: Array, V: Array | None, X: Array, dX: Array | None) -> bool:
            N, M = W.shape
            dtypes = {a.dtype for a in (dA, V, X, W) if a is not None}
            outputs, inputs = (len(X), N), (len(X), M)
            fits = len(dtypes) == 1 and (dA.shape, X.shape) == (outputs, inputs)
            fits = fits and (V is None or V.shape == outputs)
            fits = fits and (dX is None or may_fill(dX, inputs, W.dtype, (dA, V, X, *held)))
            if fits:
                self.backward(dA, V, act, X, W, dX, dW, db)
            return fits

        return run

    def hold_map(self, act: BoundPair, dtype: np.dtype[Any]) -> Map:
        """Return `activation_forward` of an activation."""

        def run(X: Array, Y: Array) -> bool:
            fits = X.dtype == dtype and X.ndim == 2 and may_fill(Y, X.shape, dtype, (X,))
            if fits:
                self.activation_forward(act, X, Y)
            return fits

        return run

    def hold_hadamard(self, act: BoundPair, dtype: np.dtype[Any]) -> Hadamard:
        """Return `activation_backward` of an activation."""

        def run(dY: Array, V: Array, dX: Array) -> bool:
            fits = dY.dtype == V.dtype == dtype and V.ndim == 2 and dY.shape == V.shape
            fits = fits and may_fill(dX, V.shape, dtype, (dY, V))
            if fits:
                self.activation_backward(act, dY, V, dX)
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
        b = None if b is None else np.ascontiguousarray(b)
        run = self.hold_forward(Held(W, b, None, None), act)
        if not run(X, V, A):  # A has gaps, or surrounds what is read
            result = np.empty(A.shape, A.dtype)
            _require(run(X, V, result))
            A[...] = result

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
        run = self.hold_backward(Held(W, None, dW, db), act)
        if not run(dA, V, X, dX):
            result = None if dX is None else np.empty(dX.shape, dX.dtype)
            _require(run(elementwise.rows(dA), V, X, result))
            if dX is not None:
                dX[...] = result

    def hold_forward(self, held: Held, act: BoundPair | None) -> Forward:
        """Return `forward` of a layer."""
        return hold(forward_pass(act, held.W.dtype), held)

    def hold_backward(self, held: Held, act: BoundPair | None) -> Backward:
        """Return `backward` of a layer."""
        return hold(backward_pass(act, held.W.dtype), held)

    def hold_map(self, act: BoundPair, dtype: np.dtype[Any]) -> Map:
        """Return `activation_forward` of an activation."""
        return map_of(act, dtype, checked=True)

    def hold_hadamard(self, act: BoundPair, dtype: np.dtype[Any]) -> Hadamard:
        """Return `activation_backward` of an activation."""
        return hadamard_of(act, dtype, checked=True)


def _require(fits: bool) -> None:
    if not fits:
        raise ValueError("arrays: expected shapes and dtypes that go together")


class Interpreted(Loops):
    """What stands for `Tiled` under NUMBA_DISABLE_JIT: the same bits, step by step."""

    name = "tiled"


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
