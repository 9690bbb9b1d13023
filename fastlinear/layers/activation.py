"""The activations as layers: each class names its pair (h, h') and the parameters p, q of the pair.

Definitions, constructor arguments and defaults are PyTorch's; the formulas and the derivatives at
kinks stand with the pairs in `fastlinear.kernels.activations`. An activation is immutable, so one
object may be given to several Linear layers. Its parameters are run-time values: no other alpha
compiles anything anew.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastlinear import kernels
from fastlinear.kernels.activations import PAIRS, Pair
from fastlinear.layers import checks
from fastlinear.layers.maps import Map


class ElementWise(Map):
    """Y = h(X), element by element, and dX = dY o h'(X), equations (17)-(19).

    Takes X of any shape, float32 or float64, and raises TypeError for any other dtype. A subclass
    sets `pair`, and calls `_configure` where h has parameters. Their constructor raises TypeError
    for what is no number and ValueError for one that h has no value for; a forward pass in float32
    raises ValueError for one beyond float32.

    Attributes
    ----------
    pair : Pair
        The compiled h and h'.
    p, q : float
        Its parameters; 0 where h has none.
    from_output : bool
        Whether h' is taken from Y, so that X need not be kept.
    formulation : str
        "tiled", "loops" or "blas"; may be assigned.
    parameters : dict of str to float
        The constructor's arguments, where h has parameters.
    """

    pair: Pair

    def __init__(self) -> None:
        self._configure()

    def _configure(self, **parameters: float) -> None:
        kind = type(self).__name__
        values = [checks.number(f"{kind}: {name}", value) for name, value in parameters.items()]
        self.parameters = dict(zip(parameters, values, strict=True))
        self.p, self.q = (*values, 0.0, 0.0)[:2]
        self.from_output = self.pair.h_prime_output is not None and self.pair.invertible(
            self.p, self.q
        )
        self._keeps_output = self.from_output
        self.formulation = "tiled"

    @property
    def formulation(self) -> str:
        """Name of the formulation whose kernels run."""
        return self._formulation

    @formulation.setter
    def formulation(self, name: str) -> None:
        self._kernels = kernels.formulation(name)
        self._formulation = name
        self._maps, self._hadamards = {}, {}

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(self.parameters)

    def _map(self, dtype: np.dtype[Any]) -> kernels.Map:
        return self._kernels.hold_map(self, dtype)

    def _hadamard(self, dtype: np.dtype[Any]) -> kernels.Hadamard:
        return self._kernels.hold_hadamard(self, dtype)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        for name in ("_kernels", "_maps", "_hadamards"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.formulation = self._formulation


class Parameter:
    """A parameter of h under PyTorch's name; read-only, for what was bound to it stays bound."""

    def __init__(self, slot: str) -> None:
        self.slot = slot

    def __get__(self, activation: ElementWise, owner: type) -> float:
        value: float = getattr(activation, self.slot)
        return value

    def __set__(self, activation: ElementWise, value: float) -> None:
        name = type(activation).__name__
        raise AttributeError(f"a {name} keeps its parameters: make another fl.{name}")


DIVISOR = 2.0**-120
"""The least that h divides by: less, and a float32 would overflow."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


class Identity(ElementWise):
    """x."""

    pair = PAIRS["identity"]


class ReLU(ElementWise):
    """max(x, 0)."""

    pair = PAIRS["relu"]


class LeakyReLU(ElementWise):
    """x for x > 0, negative_slope x otherwise."""

    pair = PAIRS["leaky_relu"]

    negative_slope = Parameter("p")

    def __init__(self, negative_slope: float = 0.01) -> None:
        self._configure(negative_slope=negative_slope)


class ELU(ElementWise):
    """x for x > 0, alpha (exp(x) - 1) otherwise (arXiv:1511.07289)."""

    pair = PAIRS["elu"]

    alpha = Parameter("p")

    def __init__(self, alpha: float = 1.0) -> None:
        self._configure(alpha=alpha)


class SELU(ElementWise):
    """scale (max(x, 0) + min(0, alpha (exp(x) - 1))), scale = 1.0507..., alpha = 1.6732..."""

    pair = PAIRS["selu"]


class CELU(ElementWise):
    """max(x, 0) + min(0, alpha (exp(x / alpha) - 1)) (arXiv:1704.07483)."""

    pair = PAIRS["celu"]

    alpha = Parameter("p")

    def __init__(self, alpha: float = 1.0) -> None:
        self._configure(alpha=alpha)
        _require(abs(self.p) >= DIVISOR, f"CELU: expected |alpha| of 2^-120 or more, got {alpha}")


class GELU(ElementWise):
    """x Phi(x), Phi the normal distribution's; or its tanh approximation (arXiv:1606.08415)."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = checks.one_of("GELU: approximate", approximate, ("none", "tanh"))
        self._configure()

    @property
    def pair(self) -> Pair:  # type: ignore[override]
        """The exact or the approximate h and h'."""
        return PAIRS["gelu" if self.approximate == "none" else "gelu_tanh"]

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"approximate": self.approximate}


class SiLU(ElementWise):
    """x sigmoid(x), also known as swish."""

    pair = PAIRS["silu"]


class Mish(ElementWise):
    """x tanh(softplus(x)) (arXiv:1908.08681)."""

    pair = PAIRS["mish"]


class Sigmoid(ElementWise):
    """1 / (1 + exp(-x))."""

    pair = PAIRS["sigmoid"]


class LogSigmoid(ElementWise):
    """-log(1 + exp(-x))."""

    pair = PAIRS["log_sigmoid"]


class Tanh(ElementWise):
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))."""

    pair = PAIRS["tanh"]


class Softplus(ElementWise):
    """log(1 + exp(beta x)) / beta; x itself where beta x > threshold."""

    pair = PAIRS["softplus"]

    beta = Parameter("p")
    threshold = Parameter("q")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self._configure(beta=beta, threshold=threshold)
        _require(abs(self.p) >= DIVISOR, f"Softplus: expected |beta| of 2^-120 or more, got {beta}")


class Softsign(ElementWise):
    """x / (1 + |x|)."""

    pair = PAIRS["softsign"]


class Hardtanh(ElementWise):
    """x clamped to [min_val, max_val]."""

    pair = PAIRS["hardtanh"]

    min_val = Parameter("p")
    max_val = Parameter("q")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self._configure(min_val=min_val, max_val=max_val)
        _require(self.p < self.q, f"Hardtanh: expected min_val < max_val, got {min_val}, {max_val}")


class ReLU6(ElementWise):
    """x clamped to [0, 6]."""

    pair = PAIRS["relu6"]


class Hardsigmoid(ElementWise):
    """x / 6 + 1 / 2 clamped to [0, 1]."""

    pair = PAIRS["hardsigmoid"]


class Hardswish(ElementWise):
    """x times hardsigmoid of x (arXiv:1905.02244)."""

    pair = PAIRS["hardswish"]


class Softshrink(ElementWise):
    """x moved by lambd towards 0, and 0 for |x| <= lambd."""

    pair = PAIRS["softshrink"]

    lambd = Parameter("p")

    def __init__(self, lambd: float = 0.5) -> None:
        self._configure(lambd=lambd)
        _require(self.p >= 0, f"Softshrink: expected lambd of at least 0, got {lambd}")


class Hardshrink(ElementWise):
    """x for |x| > lambd, otherwise 0."""

    pair = PAIRS["hardshrink"]

    lambd = Parameter("p")

    def __init__(self, lambd: float = 0.5) -> None:
        self._configure(lambd=lambd)


class Tanhshrink(ElementWise):
    """x - tanh(x)."""

    pair = PAIRS["tanhshrink"]


class Threshold(ElementWise):
    """x for x > threshold, otherwise value."""

    pair = PAIRS["threshold"]

    threshold = Parameter("p")
    value = Parameter("q")

    def __init__(self, threshold: float, value: float) -> None:
        self._configure(threshold=threshold, value=value)


CLASSES: tuple[type[ElementWise], ...] = tuple(ElementWise.__subclasses__())

# The names that stand for an activation with its defaults; Threshold has none.
NAMES: dict[str, Any] = {
    **{cls().pair.name: cls for cls in CLASSES if cls is not Threshold},
    "gelu_tanh": partial(GELU, "tanh"),
}

# Those the user has added: see `fastlinear.layers.user_activation`.
USER_NAMES: dict[str, Any] = {}


def resolve(activation: str | ElementWise | None) -> ElementWise | None:
    """Return the activation that a name or an object stands for; None for None and the identity."""
    if isinstance(activation, str):
        hint = ", or an object such as fl.ELU(alpha=0.5)"
        names = NAMES | USER_NAMES
        activation = names[checks.one_of("activation", activation, names, hint)]()
    if activation is not None and not isinstance(activation, ElementWise):
        raise TypeError(
            f"activation: expected a name, an activation object such as fl.ReLU() or None, "
            f"got {activation!r}"
        )
    return None if activation is None or activation.pair.name == "identity" else activation
