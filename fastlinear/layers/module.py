"""`Module`, what every layer is, and `Arrays`, the mapping that holds its parameters."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from os import PathLike
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from fastlinear.layers import checks
from fastlinear.layers.checks import Array, Shape

Self = TypeVar("Self", bound="Module")


class Arrays(MutableMapping[str, Array]):
    """Named arrays whose names, shapes, dtypes and memory never change.

    Assigning to a name copies the values into the array that is there, so that whoever holds the
    array (a layer, an optimiser, a nested network) sees them.
    """

    def __init__(self, arrays: dict[str, Array]) -> None:
        self._arrays = arrays

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __setitem__(self, name: str, value: Array) -> None:
        if name not in self._arrays:
            raise KeyError(f"expected one of {', '.join(self._arrays)}; got {name!r}")
        held = self._arrays[name]
        if value is not held:  # it is after `params["weight"] -= step`
            checks.array(name, value, held.dtype)
            held[...] = checks.same_shape(name, value, held.shape, "that of the array assigned to")

    def __delitem__(self, name: str) -> None:
        raise TypeError("arrays of a layer can be changed in place, not removed")

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        items = (f"{name!r}: {a.dtype}{list(a.shape)}" for name, a in self._arrays.items())
        return f"{{{', '.join(items)}}}"


class Module(ABC):
    """A layer: forward, backward, predict, and the arrays they use.

    `forward` keeps references to what `backward` needs (usually X and one more array): change
    neither X nor the array it returned until then. What was kept stays until the next `forward` or
    `clear_cache`. `predict` keeps nothing and may be called from many threads at once.

    Attributes
    ----------
    in_features, out_features : int or None
        Length of the last axis of X and of Y; None where the layer takes any and preserves it.
    dtype : numpy.dtype or None
        float32 or float64; None where the layer takes both.
    params, grads : Arrays
        Parameters, and the gradients of the last `backward` (zeros before the first), by name.
    places : int
        How many positions PyTorch's Sequential would number for this layer.

    Notes
    -----
    A layer of your own that is to be part of a `Sequential` calls ``_keep(X, Y)`` in `forward`, so
    that the network can tell whether a dY answers it.
    """

    in_features: int | None = None
    out_features: int | None = None
    dtype: np.dtype[Any] | None = None
    places = 1

    # What backward needs: X as rows, the array h' is taken of or has been put in, the shapes of X
    # and of Y; where X is not needed, the other array stands in its place too. One tuple, so that
    # it is replaced in one step.
    _kept: tuple[Array, Array | None, Shape, Shape] | None = None

    @property
    def params(self) -> Arrays:
        """The parameters by name; none unless a layer says otherwise."""
        return Arrays({})

    @property
    def grads(self) -> Arrays:
        """The gradients by the names of the parameters."""
        return Arrays({})

    @abstractmethod
    def forward(self, X: Array, *, out: Array | None = None) -> Array:
        """Return Y and keep what `backward` needs."""

    @abstractmethod
    def backward(
        self,
        dY: Array,
        *,
        accumulate: bool = False,
        input_grad: bool = True,
        out: Array | None = None,
    ) -> Array | None:
        """Fill `grads`, or add to them with ``accumulate``; return dX if ``input_grad``."""

    @abstractmethod
    def predict(self, X: Array, out: Array | None = None) -> Array:
        """Return the same bits as `forward`, keeping nothing."""

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments that describe this layer."""

    def __call__(self, X: Array, *, out: Array | None = None) -> Array:
        """Return ``self.forward(X, out=out)``."""
        return self.forward(X, out=out)

    def clear_cache(self) -> None:
        """Drop what `forward` kept."""
        self._kept = None

    def astype(self: Self, dtype: DTypeLike) -> Self:
        """Return a copy whose parameters are cast to ``dtype``."""
        checks.float_dtype(dtype)
        return copy.deepcopy(self)

    # -- parameters as one dictionary and as a file ------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters (C order) under PyTorch's key names."""
        return {name: np.array(a, order="C") for name, a in self.params.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy the arrays of ``state`` into the parameters.

        Parameters
        ----------
        state : mapping
            PyTorch's key names to arrays (anything `numpy.asarray` takes) of the same shape and
            dtype as the parameters.

        Raises
        ------
        ValueError, TypeError
            Where a key is missing, surplus or misshapen, a dtype differs, or an array of the layer
            is read-only. Nothing is copied.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state: expected a mapping of names to arrays, got {state!r:.80}")
        params = self.params
        missing = [name for name in params if name not in state]
        surplus = [name for name in state if name not in params]
        if missing or surplus:
            raise ValueError(
                f"state: expected the keys {list(params)}; missing {missing}, surplus {surplus}"
            )
        arrays = {name: _as_array(state[name]) for name in params}
        for name, held in params.items():
            checks.array(f"state[{name!r}]", arrays[name], held.dtype)
            checks.same_shape(f"state[{name!r}]", arrays[name], held.shape, "that of the layer")
            if not held.flags.writeable:
                raise ValueError(f"state[{name!r}]: the layer's own array is read-only")
        for name in params:
            params[name] = arrays[name]

    def save(self, path: str | PathLike[str], *, metadata: Mapping[str, str] | None = None) -> None:
        """Write architecture and parameters to a safetensors file; see `fastlinear.load`."""
        from fastlinear.serialization import save

        save(self, path, metadata=metadata)

    # -- inside nopython code ----------------------------------------------------------------------

    def as_jit(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return ``fn`` and ``params``: this network for use inside the user's own nopython code.

        ``fn(params, x)`` returns a new array and ``fn(params, x, out)`` fills and returns ``out``,
        without allocating, but for layers wider than some 20000 features and for weights that are
        not in Fortran order: x of shape (M,) or (S, M), out (N,) or (S, N), all in the network's
        dtype, any strides. ``out`` must not overlap x or the params. It has the bits of `predict`
        with the formulation "tiled" or "loops", is serial, and any number of threads may call it at
        once: from ``@njit`` functions, inside ``prange``, from a ``@cfunc``, or from Python.

        Networks with the same sequence of layers and activations share one ``fn``, whatever their
        sizes, so nothing is compiled again for other weights. It holds addresses of this process,
        and so cannot be pickled, nor a compiled function that calls it: give another process a
        Python function, which calls `as_jit` there.

        A function of your own with ``@njit(cache=True)`` may call it. Numba keeps the network's
        code in that function's file and notices edits of your source only: delete such files after
        an upgrade of fastlinear, and where the same source is to run another sequence of layers or
        activations, whose ``fn`` is another function.

        Returns
        -------
        fn : compiled function
            Raises ValueError, before anything is written, where a shape does not fit; does not
            compile where a dtype, a number of axes or the number of layers differs.
        params : tuple
            Three arrays for each layer, one after another: **copies** of weight (N, M) and bias
            (N,), without elements where there are none, and the activation's two parameters. Call
            again for new weights, or put other arrays in their place; weights are fastest in
            Fortran order.

        Raises
        ------
        TypeError
            Where a layer is not a Linear, an activation or a Softmax.
        ValueError
            Where no layer gives a dtype.

        Examples
        --------
        >>> import numba, numpy as np, fastlinear as fl
        >>> policy, params = fl.MLP([4, 8, 2], rng=0).as_jit()
        >>> @numba.njit
        ... def rollout(params, x, steps):
        ...     y = np.empty(2, x.dtype)
        ...     for _ in range(steps):
        ...         policy(params, x, y)
        ...         x[:2] += y
        ...     return x
        >>> rollout(params, np.ones(4, np.float32), 10).shape
        (4,)
        """
        from fastlinear.layers.nopython import as_jit

        return as_jit(self)

    def jit_backward(
        self,
    ) -> tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...], tuple[Any, ...]]:
        """Return forward, backward, params and grads, to train inside the user's nopython code.

        ``y, kept = forward(params, x)`` and ``backward(params, kept, dy, grads)``, or
        ``backward(params, kept, dy, grads, dx)`` where dL/dX is wanted too. x is (S, M), dy (S, N),
        dx (S, M), any strides; no output overlaps another array. They have the bits of `forward`
        and `backward` with the formulation "tiled" or "loops", are serial and keep nothing: threads
        may train at once, each with grads of its own.

        Returns
        -------
        forward, backward : compiled function
            They raise ValueError, before anything is written, where a shape does not fit, and do
            not compile where a dtype or a number of axes differs, as the function of `as_jit`.
            Numba frees nothing that compiled code holds when an exception leaves it: each such
            error costs the memory of the arrays of its call.
        params : tuple
            As `as_jit` returns it.
        grads : tuple
            Two arrays for each layer, one after another: zeros of the shapes of weight and bias,
            for ``backward`` to overwrite.

        Raises
        ------
        TypeError, ValueError
            As `as_jit`.

        Examples
        --------
        >>> import numba, numpy as np, fastlinear as fl
        >>> layer = fl.Linear(1, 1, dtype=np.float64, rng=0)
        >>> forward, backward, params, grads = layer.jit_backward()
        >>> @numba.njit
        ... def train(params, grads, X, T, lr, steps):
        ...     for _ in range(steps):
        ...         Y, kept = forward(params, X)
        ...         backward(params, kept, Y - T, grads)
        ...         W, b, _ = params
        ...         W -= lr * grads[0]
        ...         b -= lr * grads[1]
        >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> train(params, grads, X, 2 * X + 1, 0.1, 200)
        >>> layer.params["weight"], layer.params["bias"] = params[:2]
        >>> layer.predict(np.array([[10.0]])).round(3)
        array([[21.]])
        """
        from fastlinear.layers.nopython import jit_backward

        return jit_backward(self)

    # -- pickle, copy, repr ------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self.arguments().items())
        return f"{type(self).__name__}({', '.join(shown)})"

    # -- shared by the layers ----------------------------------------------------------------------

    def _keep(self, X: Array, Y: Array) -> None:
        """Keep what `backward` needs: X, and Y as the array that goes with it."""
        self._kept = (checks.as_rows(X), checks.as_rows(Y), X.shape, Y.shape)

    def _check_backward(self, shape: Shape, dtype: np.dtype[Any]) -> Shape:
        """Check that dY of this shape and dtype answers the last forward; return the shape of X."""
        if self._kept is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a forward before it (predict keeps nothing)"
            )
        X, V, x_shape, y_shape = self._kept
        if dtype != X.dtype:
            raise TypeError(f"dY: expected {X.dtype}, that of the last forward, got {dtype}")
        if shape != y_shape:
            raise ValueError(f"dY: expected shape {y_shape}, that of the last forward, got {shape}")
        if len(x_shape) == 2:  # then these are the caller's own arrays, not views of them
            for kept, was in ((X, x_shape), (V, y_shape)):
                if kept is not None and kept.shape != was:
                    raise ValueError(
                        f"backward: an array that forward kept had shape {was} and now has "
                        f"{kept.shape}; change neither X nor what forward returned until then"
                    )
        return x_shape

    def _arrays(self) -> tuple[Array | None, ...]:
        """Return the arrays of the layer itself, which no output may overlap."""
        return *self.params.values(), *self.grads.values()

    def _kept_arrays(self) -> list[Array | None]:
        return [] if self._kept is None else [self._kept[0], self._kept[1]]


def _as_array(value: Any) -> Array:
    """Return an array as it is, a masked one too, of which `checks` will complain, or make one."""
    return value if isinstance(value, np.ndarray) else np.asarray(value)
