"""`gradcheck`: analytic gradients against central differences in float64.

For L = sum(R o Y), R fixed random numbers, the derivative along one coordinate x is estimated by
D(h) = (L(x + h) - L(x - h)) / 2h, whose error has two parts:

    truncation   h^2 |L'''| / 6, known from a second step: |D(2h) - D(h)| = h^2 |L'''| / 2
    rounding     |error of L| / h, each Y being off by at most `ULPS` eps of the largest |Y|, or
                 `OWN_ULPS` where it does not change, and the points themselves by eps |x|

h = eps^(1/3) max(1, |x|) makes both of order eps^(2/3). A gradient passes if it differs from D(h)
by no more than the sum of both bounds, so the threshold follows the function.

Where the function has a kink within 2h of x there is no derivative to compare with. D(h), D(2h) and
the second differences J(h) = (L(x + h) - 2 L(x) + L(x - h)) / h tell: for a smooth function
|D(2h) - D(h)| and |J(2h) - 2 J(h)| are of order h^2 times the slopes around, at a kink one of them
is of order 1. h times the array's median slope lies midway. Such coordinates are counted, not
compared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastlinear import init as initialisers
from fastlinear.layers import checks
from fastlinear.layers.checks import Array
from fastlinear.layers.losses import Loss
from fastlinear.layers.module import Module

EPS = float(np.finfo(np.float64).eps)
STEP = EPS ** (1 / 3)
# Sums of some hundred terms (rounding errors grow as the square root of their number) and a few
# layers of activations at up to 4 ulp each stay below this.
ULPS = 64
# A Y that does not change is not touched by x, or its change is lost in its activation's own error.
OWN_ULPS = 4


class GradcheckError(AssertionError):
    """A gradient that the differences contradict; `report` says which."""

    def __init__(self, report: GradcheckReport) -> None:
        super().__init__(f"wrong gradient: {report}")
        self.report = report


@dataclass(frozen=True)
class GradcheckReport:
    """What `gradcheck` found.

    Attributes
    ----------
    checked, kinks : int
        Coordinates compared, and coordinates left out because the function has a kink there.
    error : float
        Largest |analytic - numeric| relative to the largest derivative in the same array.
    excess : float
        Largest |analytic - numeric| in units of the bound it must keep; above 1 is an error.
    where : str
        Where the excess is largest, such as "X[0, 3]" or "0.weight[2, 1]".
    analytic, numeric : float
        The two derivatives there.
    """

    checked: int
    kinks: int
    error: float
    excess: float
    where: str
    analytic: float
    numeric: float

    def __str__(self) -> str:
        return (
            f"at {self.where} backward says {self.analytic:.10g}, the difference quotient "
            f"{self.numeric:.10g}, {self.excess:.3g} times the bound apart "
            f"(relative error {self.error:.3g}; {self.checked} coordinates compared, "
            f"{self.kinks} at kinks left out)"
        )


def gradcheck(
    module: Module | Loss,
    X: Array,
    target: Any = None,
    *,
    limit: int = 200,
    rng: int | np.random.Generator = 0,
) -> GradcheckReport:
    """Compare the gradients of a layer, network or loss with central differences in float64.

    A copy in float64 is checked, whatever the dtype; ``module`` itself is not changed. Two forward
    passes for each coordinate: of larger arrays, ``limit`` coordinates stand for all.

    Parameters
    ----------
    module : Module or loss
        What to check: the gradients of X and of every parameter.
    X : ndarray
        Where to check it: any shape that ``module`` takes, real numbers.
    target : ndarray, optional
        For a loss: its labels or targets.
    limit : int
        At most so many coordinates of each array, drawn by ``rng``.
    rng : int or numpy.random.Generator
        Draws R and the coordinates.

    Returns
    -------
    GradcheckReport
        How many coordinates were compared, and the largest difference.

    Raises
    ------
    GradcheckError
        An AssertionError with the `report`, where a gradient is wrong.
    TypeError, ValueError
        Where ``module`` is none, X or ``target`` does not fit it, or there is nothing to compare.
    """
    generator = initialisers.generator(rng)
    limit = checks.positive_integer("limit", limit)
    X = _as_float64("X", X)
    if isinstance(module, Loss):
        evaluate, R, gradients = _of_loss(module, X, target)
    elif isinstance(module, Module):
        evaluate, R, gradients = _of_module(module, X, generator)
    else:
        raise TypeError(f"module: expected a layer, network or loss, got {type(module).__name__}")
    kinks = 0
    found: list[_Comparison] = []
    for name, array, gradient in gradients:
        compared = _compare(name, array, gradient, evaluate, R, generator, limit)
        found += compared
        kinks += min(limit, array.size) - len(compared)
    if not found:
        raise ValueError(f"nothing to compare: all {kinks} coordinates are at kinks")
    worst = found[int(np.argmax([c.excess for c in found]))]  # argmax takes NaN for the largest
    report = GradcheckReport(
        checked=len(found),
        kinks=kinks,
        error=float(np.max([c.error for c in found])),
        excess=worst.excess,
        where=worst.where,
        analytic=worst.analytic,
        numeric=worst.numeric,
    )
    if not report.excess <= 1:
        raise GradcheckError(report)
    return report


def _as_float64(name: str, value: Any) -> Array:
    """Return real numbers, at least one, as a copy in float64."""
    array = checks.unmasked(name, value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected real numbers, got {array.dtype}")
    if array.size == 0:
        raise ValueError(f"{name}: nothing to compare, its shape is {array.shape}")
    return np.array(array, np.float64, order="C")


Evaluate = Callable[[], Array]
Gradients = list[tuple[str, Array, Array]]


def _of_module(
    module: Module, X: Array, generator: np.random.Generator
) -> tuple[Evaluate, Array, Gradients]:
    """Return Y as a function of the arrays' present values, R, and the arrays with gradients."""
    module = module.astype(np.float64)
    R = generator.uniform(0.5, 1.5, module.forward(X).shape)
    dX = module.backward(R)
    assert dX is not None
    params, grads = module.params, module.grads
    return (
        lambda: module.predict(X),
        R,
        [("X", X, dX), *((name, params[name], grads[name].copy()) for name in params)],
    )


def _of_loss(loss: Loss, X: Array, target: Any) -> tuple[Evaluate, Array, Gradients]:
    if target is None:
        raise TypeError("target: expected the loss's labels or targets, got None")
    loss = copy.deepcopy(loss)
    target = checks.unmasked("target", target)
    if target.dtype in checks.FLOATS:
        target = target.astype(np.float64)
    loss.forward(X, target)
    gradient = loss.backward()
    return (lambda: np.array([loss.forward(X, target)]), np.ones(1), [("X", X, gradient)])


@dataclass(frozen=True)
class _Comparison:
    """One coordinate's derivatives; the differences relative to the array's scale and the bound."""

    where: str
    analytic: float
    numeric: float
    error: float
    excess: float


def _compare(
    name: str,
    array: Array,
    gradient: Array,
    evaluate: Evaluate,
    R: Array,
    generator: np.random.Generator,
    limit: int,
) -> list[_Comparison]:
    """Compare up to ``limit`` coordinates of one array, leaving out those at kinks."""
    chosen = generator.permutation(array.size)[:limit]
    indices = [tuple(map(int, np.unravel_index(flat, array.shape))) for flat in chosen]
    probes = [_probe(evaluate, R, array, index) for index in indices]
    slopes = [abs(probe.numeric) for probe in probes if probe.numeric != 0]
    usual = float(np.median(slopes)) if slopes else 0.0
    smooth = [
        (index, probe)
        for index, probe in zip(indices, probes, strict=True)
        if not probe.bend > probe.h * usual
    ]
    scale = max((abs(probe.numeric) for _, probe in smooth), default=0.0)
    return [
        _comparison(name, index, float(gradient[index]), probe, scale) for index, probe in smooth
    ]


def _comparison(
    name: str, index: tuple[int, ...], analytic: float, probe: _Probe, scale: float
) -> _Comparison:
    difference = abs(analytic - probe.numeric)
    return _Comparison(
        where=f"{name}{list(index)}",
        analytic=analytic,
        numeric=probe.numeric,
        error=_ratio(difference, scale),
        excess=_ratio(difference, probe.bound),
    )


def _ratio(difference: float, unit: float) -> float:
    """Return difference / unit, where 0 / 0 is 0."""
    if difference == 0:
        return 0.0
    return difference / unit if unit else float("inf")


@dataclass(frozen=True)
class _Probe:
    """The difference quotient along one coordinate, its error bound, and its kink measure."""

    h: float
    numeric: float
    bound: float
    bend: float


def _probe(evaluate: Evaluate, R: Array, array: Array, index: tuple[int, ...]) -> _Probe:
    """Measure the function at x, x +- h and x +- 2h, where x is ``array[index]``."""
    x = float(array[index])
    h = STEP * max(1.0, abs(x))
    Y = {}
    for k in (-2, -1, 0, 1, 2):
        array[index] = x + k * h
        Y[k] = evaluate()
    array[index] = x

    # Differences are formed for each Y before the sum: what x does not touch cancels exactly.
    def slope(k: int) -> float:
        return float(np.sum(R * (Y[k] - Y[-k])) / (2 * k * h))

    def jump(k: int) -> float:
        return float(np.sum(R * ((Y[k] - Y[0]) - (Y[0] - Y[-k]))) / (k * h))

    ulps = float(np.sum(R * np.where(Y[1] != Y[-1], ULPS, OWN_ULPS)))
    size = max(float(np.max(np.abs(y))) for y in Y.values())
    steepest = max(abs(float(np.sum(R * (Y[k] - Y[0]))) / (k * h)) for k in (-2, -1, 1, 2))
    rounding = EPS / h * (ulps * size + steepest * abs(x))
    truncation = abs(slope(2) - slope(1))
    return _Probe(
        h=h,
        numeric=slope(1),
        bound=truncation + rounding,
        bend=max(truncation, abs(jump(2) - 2 * jump(1))) - 4 * rounding,
    )
