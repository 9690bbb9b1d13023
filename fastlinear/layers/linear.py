"""`Linear`: Y = X W^T + b, equation (2), with its activation fused in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy import empty, ndarray  # found by name: each np. in a fast path takes 0.04 us
from numpy.typing import DTypeLike

from fastlinear import init as initialisers
from fastlinear import kernels
from fastlinear.kernels import updates
from fastlinear.kernels.alignment import aligned, aligned_zeros
from fastlinear.layers import checks
from fastlinear.layers.activation import ElementWise, resolve
from fastlinear.layers.checks import Array, Shape
from fastlinear.layers.module import Arrays, Module

Sums = list[tuple[Array, Array]]
"""Gradients, each with what is to be added to it."""

NO_SUMS: Sums = []


class Linear(Module):
    """A = h(X W^T + b), equations (2) and (17), and its gradients (4), (9), (14), (18).

    Parameters
    ----------
    in_features, out_features : int
        M and N.
    bias : bool
        Whether b is added.
    activation : str or activation, optional
        h, fused into the kernels: a name ("relu", "gelu_tanh", ...) or an object (fl.ELU(0.5)).
        The identity is the same as None.
    dtype : float32 or float64
        Of the parameters, and of every array that goes in or comes out.
    init : str
        How the weight is drawn, see `fastlinear.init`. The bias is uniform within 1 / sqrt(M) as in
        PyTorch, or zero with "zeros".
    rng : int or numpy.random.Generator, optional
        Seeds the draw: weight first, then bias.
    formulation : str
        "tiled", "loops" or "blas"; may be assigned later.

    Raises
    ------
    ValueError, TypeError
        Where a size is no positive integer, the dtype none of the two, or a name unknown.

    Notes
    -----
    The weight has shape (N, M) and lies in memory as M x N (Fortran order), beginning at a cache
    line, so that `predict` streams it as it is. It may be changed in place, or by assigning to
    ``params["weight"]``, which copies. The kept X and A follow the rule in `Module`.
    """

    _forward: kernels.Forward | None
    _backward: kernels.Backward | None
    _adding: tuple[kernels.Backward, Sums] | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        activation: str | ElementWise | None = None,
        dtype: DTypeLike = np.float32,
        init: str = "kaiming_uniform",
        rng: initialisers.Rng = None,
        formulation: str = "tiled",
    ) -> None:
        self.in_features: int = checks.positive_integer("in_features", in_features)
        self.out_features: int = checks.positive_integer("out_features", out_features)
        self.dtype: np.dtype[Any] = checks.float_dtype(dtype)
        self._activation = resolve(activation)
        self.formulation = formulation
        draw = initialisers.INITIALISERS[checks.one_of("init", init, initialisers.INITIALISERS)]
        generator = initialisers.generator(rng)
        shape = (self.out_features, self.in_features)
        arrays = {"weight": draw(shape, generator, dtype=self.dtype)}
        if checks.truth("bias", bias):
            arrays["bias"] = (
                np.zeros(shape[0], self.dtype)
                if init == "zeros"
                else initialisers.bias(shape, generator, dtype=self.dtype)
            )
        self._own(_aligned(arrays))

    def _own(self, params: Arrays) -> None:
        """Take ``params`` as this layer's own and make room for their gradients."""
        self._params = params
        zeros = {name: aligned_zeros(a.shape, a.dtype, order="F") for name, a in params.items()}
        self._grads = Arrays(zeros)
        self._W, self._dW = params["weight"], self._grads["weight"]
        self._b, self._db = params.get("bias"), self._grads.get("bias")
        self._forward = self._backward = self._adding = None

    @property
    def params(self) -> Arrays:
        """The arrays "weight" (N, M) and, with a bias, "bias" (N,)."""
        return self._params

    @property
    def grads(self) -> Arrays:
        """The gradients dL/dW (4) and dL/db (9) of the last `backward`, zeros before the first."""
        return self._grads

    @property
    def activation(self) -> ElementWise | None:
        """The fused h, or None."""
        return self._activation

    @property
    def places(self) -> int:  # type: ignore[override]
        """Positions in PyTorch's numbering: a fused activation counts as the module it replaces."""
        return 1 if self._activation is None else 2

    @property
    def formulation(self) -> str:
        """Name of the formulation whose kernels run; assigning another clears the cache."""
        return self._formulation

    @formulation.setter
    def formulation(self, name: str) -> None:
        self._kernels = kernels.formulation(name)
        self._formulation = name
        self._forward = self._backward = None
        self.clear_cache()  # what one formulation keeps, another does not understand

    def _hold_forward(self) -> kernels.Forward:
        """Return the formulation's forward pass for this layer; the first call may compile it."""
        self._forward = self._kernels.hold_forward(self._held(), self._activation)
        return self._forward

    def _hold_backward(self) -> kernels.Backward:
        """Return the formulation's backward pass, as `_hold_forward`."""
        self._backward = self._kernels.hold_backward(self._held(), self._activation)
        return self._backward

    def _held(self) -> kernels.Held:
        return kernels.Held(self._W, self._b, self._dW, self._db)

    def _hold_adding(self) -> tuple[kernels.Backward, Sums]:
        """Return one with arrays of its own for gradients, and what is to be added to what.

        They stay until `clear_cache`: to hold them anew took twice as long as the pass.
        """
        terms = {name: np.empty_like(total) for name, total in self._grads.items()}
        held = self._held()._replace(dW=terms["weight"], db=terms.get("bias"))
        run = self._kernels.hold_backward(held, self._activation)
        sums = [(updates.flat(self._grads[name]), updates.flat(terms[name])) for name in terms]
        self._adding = run, sums
        return self._adding

    def clear_cache(self) -> None:
        """Drop what `forward` kept, and the arrays for ``accumulate``."""
        super().clear_cache()
        self._adding = None

    def forward(self, X: Array, *, out: Array | None = None) -> Array:
        """Return A = h(X W^T + b), equations (2) and (17).

        Keeps X, and with an activation one array more of A's size: A itself where h' is taken of
        it; otherwise what the formulation's backward reads, h'(Z) ("tiled") or Z, the sums before h
        ("loops" and "blas").

        Parameters
        ----------
        X : ndarray
            Shape (..., M), the layer's dtype, any strides.
        out : ndarray, optional
            Where to put A: shape (..., N), no memory shared with X or the layer.

        Raises
        ------
        TypeError, ValueError
            Where a dtype or shape differs or ``out`` overlaps. Nothing has been written then.
        """
        if type(X) is ndarray and X.ndim == 2 and (out is None or type(out) is ndarray):
            # The fast path, here and in `predict`: in a function of its own it took 0.05 us more.
            # The pass looks at dtypes and shapes, and whether it may write to ``out``.
            x_shape = X.shape
            shape = x_shape[0], self.out_features
            A = empty(shape, self.dtype) if out is None else out
            V = kept = None
            activation = self._activation
            if activation is not None:
                if activation.from_output:
                    kept = A
                else:
                    V = kept = empty(shape, self.dtype)
            if (self._forward or self._hold_forward())(X, V, A):
                self._kept = (X, kept, x_shape, shape)
                return A
        return self._run_forward(X, out, keep=True)

    def predict(self, X: Array, out: Array | None = None) -> Array:
        """Return the same bits as `forward`, keeping nothing. Parameters as there."""
        if type(X) is ndarray and X.ndim == 2 and (out is None or type(out) is ndarray):
            A = empty((len(X), self.out_features), self.dtype) if out is None else out
            if (self._forward or self._hold_forward())(X, None, A):
                return A
        return self._run_forward(X, out, keep=False)

    def _run_forward(self, X: Array, out: Array | None, keep: bool) -> Array:
        """Do what the fast path of `forward` and `predict` does not serve, or say what is wrong."""
        rows = checks.matrix(X, self.dtype, self.in_features)
        shape = (*X.shape[:-1], self.out_features)
        for A in self._outputs(out, shape, X):
            result = checks.as_rows(A)
            V, kept = self._to_keep(result) if keep else (None, None)
            if (self._forward or self._hold_forward())(rows, V, result):
                if keep:
                    self._kept = (rows, kept, X.shape, shape)
                return checks.deliver(A, out)
        raise TypeError(f"X: expected {self.dtype!r}, got {X.dtype!r}")

    def _to_keep(self, A: Array) -> tuple[Array | None, Array | None]:
        """Return room for what the pass shall put beside A, and what `backward` will read."""
        if self._activation is None:
            return None, None
        if self._activation.from_output:
            return None, A
        V = empty(A.shape, self.dtype)
        return V, V

    def backward(
        self,
        dY: Array,
        *,
        accumulate: bool = False,
        input_grad: bool = True,
        out: Array | None = None,
    ) -> Array | None:
        """Fill `grads` and return dX, equations (4), (9), (14) with dZ = dY o h' (18) before them.

        Parameters
        ----------
        dY : ndarray
            dL/dA, shape and dtype of what the last `forward` returned, any strides; not in `grads`.
        accumulate : bool
            Add to `grads` instead of replacing them. Room for as many stays until `clear_cache`.
        input_grad : bool
            False skips dX and returns None: the first layer of a network needs none.
        out : ndarray, optional
            Where to put dX: shape (..., M).

        Raises
        ------
        RuntimeError
            Without a `forward` before.
        TypeError, ValueError
            Where a dtype or shape differs or ``out`` overlaps. Nothing has been written then.
        """
        if out is not None:
            checks.wanted(input_grad, out)
        if accumulate:
            run, sums = self._adding or self._hold_adding()
        else:
            run, sums = self._backward or self._hold_backward(), NO_SUMS
        done = False
        # The pass that adds does not know the gradients that ``out`` must lie apart from.
        plain = out is None or (type(out) is ndarray and not accumulate)
        if plain and type(dY) is ndarray and self._kept is not None:
            # The fast path. The pass refuses more axes than two as it does other shapes: looking
            # for them here as well took 0.05 us.
            X, V, x_shape, _ = self._kept
            dX = empty(x_shape, self.dtype) if out is None and input_grad else out
            done = run(dY, V, X, dX)
        if not done:
            dX = self._run_backward(run, dY, input_grad, out)
        for total, term in sums:
            updates.add(total, term)
        return dX

    def _run_backward(
        self, run: kernels.Backward, dY: Array, input_grad: bool, out: Array | None
    ) -> Array | None:
        """Do what the fast path of `backward` does not serve, or say what is wrong."""
        dY = checks.array("dY", dY, self.dtype)
        x_shape = self._check_backward(dY.shape, dY.dtype)
        X, V = self._kept[:2]  # type: ignore[index]  # _check_backward found it
        rows = np.ascontiguousarray(checks.as_rows(dY))
        results = self._outputs(out, x_shape, dY, *self._kept_arrays()) if input_grad else (None,)
        for dX in results:
            if run(rows, V, X, None if dX is None else checks.as_rows(dX)):
                return None if dX is None else checks.deliver(dX, out)
        raise RuntimeError("backward: the dtype of an array that forward kept has changed")

    def astype(self, dtype: DTypeLike) -> Linear:
        """Return a copy whose parameters are cast to ``dtype``."""
        kind = checks.float_dtype(dtype)
        layer = super().astype(dtype)
        layer.dtype = kind
        layer._own(_aligned({name: a.astype(kind) for name, a in layer._params.items()}))
        return layer

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments that describe this layer."""
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self._b is not None,
            "activation": self._activation,
            "dtype": self.dtype.name,
        }

    def __repr__(self) -> str:
        shown = [str(self.in_features), str(self.out_features)]
        if self._b is None:
            shown.append("bias=False")
        if self._activation is not None:
            shown.append(f"activation={self._activation!r}")
        shown.append(f"dtype={self.dtype}")
        if self._formulation != "tiled":
            shown.append(f"formulation={self._formulation!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def _arrays(self) -> tuple[Array | None, ...]:
        return self._W, self._b, self._dW, self._db

    def _outputs(self, out: Array | None, shape: Shape, *read: Array | None) -> Iterator[Array]:
        """Yield arrays for a result that is computed from arrays read and from the layer's."""
        return checks.outputs(out, shape, self.dtype, (*read, *self._arrays()))

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        for name in (
            "_kernels",
            "_forward",
            "_backward",
            "_adding",
            "_grads",
            "_W",
            "_dW",
            "_b",
            "_db",
        ):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.formulation = self._formulation
        self._own(_aligned(self._params))  # others may have put them elsewhere


def _aligned(arrays: Mapping[str, Array]) -> Arrays:
    """Return arrays as a layer holds its parameters: the same ones, or copies."""
    return Arrays({name: aligned(array) for name, array in arrays.items()})
