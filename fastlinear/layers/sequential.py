"""`Sequential`, layers one after another, and `MLP`, the usual case of it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastlinear import init as initialisers
from fastlinear.layers import checks
from fastlinear.layers.activation import ElementWise, resolve
from fastlinear.layers.checks import Array, Shape
from fastlinear.layers.linear import Linear
from fastlinear.layers.module import Arrays, Module


def leaves(layers: Iterable[Module]) -> Iterator[Module]:
    """Walk through the layers, those of nested networks included."""
    for layer in layers:
        if isinstance(layer, Sequential):
            yield from leaves(layer)
        else:
            yield layer


class Sequential(Module):
    """Layers one after another: the output of each is the input of the next.

    Parameters
    ----------
    *layers : Module
        At least one, no object twice, each fitting the one before in features and dtype.

    Attributes
    ----------
    layers : tuple of Module
        They can be reached by index, too: ``net[0]``.
    formulation : str or None
        That of all layers; assigning sets it in each.

    Raises
    ------
    ValueError, TypeError
        Where there is no layer, one object comes twice, one is no layer, or two do not fit.

    Notes
    -----
    Parameters are named as PyTorch's Sequential names them: "0.weight", "2.weight", where the
    number is the position. **A fused activation counts as the module it stands for**:
    Linear(4, 3, activation="relu") takes positions 0 and 1, so a network has the same names whether
    its activations are fused or layers of their own, and weights travel to and from
    torch.nn.Sequential(Linear, ReLU, Linear) as they are.
    """

    def __init__(self, *layers: Module) -> None:
        if not layers:
            raise ValueError("Sequential: expected at least one layer, got none")
        for layer in layers:
            if not isinstance(layer, Module):
                raise TypeError(f"Sequential: expected layers such as fl.Linear, got {layer!r}")
        every = list(leaves(layers))
        if len({id(layer) for layer in every}) < len(every):
            raise ValueError("Sequential: expected distinct layers, got the same object twice")
        self.layers = layers
        self._describe()

    def _describe(self) -> None:
        """Derive features, dtype and names from the layers; raise where two do not fit."""
        self.in_features = self.out_features = self.dtype = None
        self._positions: list[int] = []
        position = 0
        for layer in self.layers:
            self._positions.append(position)
            position += layer.places
            if layer.dtype is not None:
                if self.dtype not in (None, layer.dtype):
                    raise TypeError(f"layer {layer!r}: expected dtype {self.dtype}")
                self.dtype = layer.dtype
            if layer.in_features is not None:
                if self.out_features not in (None, layer.in_features):
                    raise ValueError(
                        f"layer {layer!r}: expected in_features={self.out_features}, "
                        f"what the layers before it return"
                    )
                self.in_features = self.in_features or layer.in_features
                self.out_features = layer.out_features

    @property
    def params(self) -> Arrays:
        """The parameters of all layers: the arrays themselves, under PyTorch's names."""
        return self._collect("params")

    @property
    def grads(self) -> Arrays:
        """The gradients of all layers, under the names of the parameters."""
        return self._collect("grads")

    @property
    def formulation(self) -> str | None:
        """Name of the layers' formulation, None where they differ; assigning sets it in all."""
        names = {getattr(layer, "formulation", None) for layer in leaves(self.layers)} - {None}
        return names.pop() if len(names) == 1 else None

    @formulation.setter
    def formulation(self, name: str) -> None:
        for layer in leaves(self.layers):
            if hasattr(layer, "formulation"):
                layer.formulation = name

    def _collect(self, which: str) -> Arrays:
        return Arrays(
            {
                f"{position}.{name}": array
                for position, layer in zip(self._positions, self.layers, strict=True)
                for name, array in getattr(layer, which).items()
            }
        )

    def forward(self, X: Array, *, out: Array | None = None) -> Array:
        """Return the last layer's output; each layer keeps what its backward needs.

        Where a layer raises after the first has begun, nothing stays kept: some layers would hold
        this X's arrays and some the last one's.
        """
        self._check(X, out)
        *before, last = self.layers
        try:
            for layer in before:
                X = layer.forward(X)
            return last.forward(X, out=out)
        except BaseException:
            self.clear_cache()
            raise

    def predict(self, X: Array, out: Array | None = None) -> Array:
        """Return the same bits as `forward`, keeping nothing."""
        self._check(X, out)
        *before, last = self.layers
        for layer in before:
            X = layer.predict(X)
        return last.predict(X, out)

    def backward(
        self,
        dY: Array,
        *,
        accumulate: bool = False,
        input_grad: bool = True,
        out: Array | None = None,
    ) -> Array | None:
        """Fill the gradients of all layers, last to first, and return dX. See `Linear.backward`."""
        checks.wanted(input_grad, out)
        dY = checks.array("dY", dY, self.dtype)
        x_shape = self._check_backward(dY.shape, dY.dtype)
        if out is not None:
            read = (dY, *self._kept_arrays(), *self._arrays())
            checks.output(out, x_shape, dY.dtype, read)
        first, *after = self.layers
        for layer in reversed(after):
            dX = layer.backward(dY, accumulate=accumulate)
            assert dX is not None
            dY = dX
        return first.backward(dY, accumulate=accumulate, input_grad=input_grad, out=out)

    def clear_cache(self) -> None:
        """Drop what `forward` kept, in every layer."""
        for layer in self.layers:
            layer.clear_cache()

    def astype(self, dtype: DTypeLike) -> Sequential:
        """Return a copy whose parameters are cast to ``dtype``."""
        network = copy.copy(self)
        network.layers = tuple(layer.astype(dtype) for layer in self.layers)
        network._describe()
        return network

    def arguments(self) -> dict[str, Any]:
        """Return the layers."""
        return {"layers": list(self.layers)}

    def _check(self, X: Array, out: Array | None) -> None:
        """Check input and ``out`` of the whole before the first layer runs."""
        checks.array("X", X, self.dtype)
        if self.in_features is not None:
            checks.last_axis("X", X, self.in_features)
        if out is not None:
            shape = X.shape if self.out_features is None else (*X.shape[:-1], self.out_features)
            checks.output(out, shape, X.dtype, (X, *self._arrays()))

    def _check_backward(self, shape: Shape, dtype: np.dtype[Any]) -> Shape:
        for layer in reversed(self.layers):
            shape = layer._check_backward(shape, dtype)
        return shape

    def _kept_arrays(self) -> list[Array | None]:
        return [array for layer in self.layers for array in layer._kept_arrays()]

    def _arrays(self) -> tuple[Array | None, ...]:
        return tuple(array for layer in self.layers for array in layer._arrays())

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> Module:
        return self.layers[index]

    def __repr__(self) -> str:
        lines = (
            f"  ({position}): " + repr(layer).replace("\n", "\n  ")
            for position, layer in zip(self._positions, self.layers, strict=True)
        )
        return f"{type(self).__name__}(\n" + "\n".join(lines) + "\n)"


class MLP(Sequential):
    """A multi-layer perceptron: Linear layers with an activation between them, none at the end.

    Parameters
    ----------
    sizes : sequence of int
        Features from input to output, at least two numbers: [784, 256, 10].
    activation : str or activation, optional
        Fused into every layer but the last.
    bias, dtype, init, formulation
        As in `Linear`, for every layer.
    rng : int or numpy.random.Generator, optional
        One generator draws the layers' parameters, first layer first.

    Attributes
    ----------
    sizes : list of int
    activation : activation or None

    Raises
    ------
    ValueError, TypeError
        Where ``sizes`` are fewer than two or no positive integers; otherwise as `Linear`.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str | ElementWise | None = "relu",
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        init: str = "kaiming_uniform",
        rng: initialisers.Rng = None,
        formulation: str = "tiled",
    ) -> None:
        if isinstance(sizes, str) or not isinstance(sizes, Iterable):
            raise TypeError(f"sizes: expected numbers such as [784, 256, 10], got {sizes!r}")
        self.sizes = [checks.positive_integer("sizes", size) for size in sizes]
        if len(self.sizes) < 2:
            raise ValueError(f"sizes: expected at least two numbers, got {self.sizes}")
        self.activation = resolve(activation)
        generator = initialisers.generator(rng)
        last = len(self.sizes) - 2
        super().__init__(
            *(
                Linear(
                    inputs,
                    outputs,
                    bias,
                    activation=None if index == last else self.activation,
                    dtype=dtype,
                    init=init,
                    rng=generator,
                    formulation=formulation,
                )
                for index, (inputs, outputs) in enumerate(
                    zip(self.sizes[:-1], self.sizes[1:], strict=True)
                )
            )
        )

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments that describe this network."""
        assert self.dtype is not None
        return {
            "sizes": self.sizes,
            "activation": self.activation,
            "bias": "0.bias" in self.params,
            "dtype": self.dtype.name,
        }
