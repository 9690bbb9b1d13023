"""Fit the polynomials of ``fastlinear.kernels.vecmath`` and print their coefficients.

Weighted minimax approximation by the Remez exchange (Remez 1934) in 45 digits. Each line printed
names the polynomial, the dtype, log2 of the largest relative error and the coefficients, lowest
degree first, rounded to the dtype::

    python benchmarks/minimax.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import mpmath
import numpy as np
from mpmath import mp, mpf

Function = Callable[[mpf], mpf]
GRID = 800  # points of the Chebyshev grid on which the exchange looks for extrema
ROUNDS = 12


def remez(f: Function, weight: Function, low: mpf, high: mpf, degree: int) -> tuple[list[mpf], mpf]:
    """Coefficients c minimising max |weight(x) (f(x) - sum_j c_j x^j)| on [low, high]; that max."""
    angles = [mpmath.pi * i / (GRID - 1) for i in range(GRID)]
    points = [(low + high) / 2 - (high - low) / 2 * mpmath.cos(angle) for angle in angles]
    values, weights = [f(x) for x in points], [weight(x) for x in points]
    size = degree + 2
    reference = [round(i * (GRID - 1) / (size - 1)) for i in range(size)]
    for _ in range(ROUNDS):
        matrix = mpmath.matrix(size, size)
        for row, k in enumerate(reference):
            for column in range(degree + 1):
                matrix[row, column] = points[k] ** column
            matrix[row, degree + 1] = (-1) ** row / weights[k]
        solution = mpmath.lu_solve(matrix, mpmath.matrix([values[k] for k in reference]))
        coefficients = list(solution)[: degree + 1]
        errors = [
            w * (y - mpmath.polyval(coefficients[::-1], x))
            for x, y, w in zip(points, values, weights, strict=True)
        ]
        exchanged = alternation(errors, size)
        if exchanged == reference or len(exchanged) < size:
            break
        reference = exchanged
    return coefficients, max(abs(e) for e in errors)


def alternation(errors: list[mpf], size: int) -> list[int]:
    """Find the extrema of alternating sign; while too many, drop the smaller end."""
    extrema: list[int] = []
    for k, error in enumerate(errors):
        if extrema and (error > 0) == (errors[extrema[-1]] > 0):
            if abs(error) > abs(errors[extrema[-1]]):
                extrema[-1] = k
        else:
            extrema.append(k)
    while len(extrema) > size:
        extrema.pop(0 if abs(errors[extrema[0]]) < abs(errors[extrema[-1]]) else -1)
    return extrema


class Fit(NamedTuple):
    """One polynomial: what it approximates, where, and its degree for each dtype."""

    name: str
    f: Function
    weight: Function
    interval: tuple[mpf, mpf]
    degrees: dict[type, int]


def expm1_tail(r: mpf) -> mpf:
    """(e^r - 1 - r) / r^2, from its series: 40 terms reach 45 digits for |r| < 1."""
    return mpmath.fsum(r**k / mpmath.factorial(k + 2) for k in range(40))


def log1p_tail(g: mpf) -> mpf:
    """(log(1 + g) - g) / g^2."""
    return (mpmath.log1p(g) - g) / g**2 if abs(g) > mpf("1e-9") else -mpf(1) / 2 + g / 3


def erf_rest(u: mpf) -> mpf:
    """erf(x) / x - 1 with u = x^2."""
    x = mpmath.sqrt(u)
    return (mpmath.erf(x) / x if u else 2 / mpmath.sqrt(mpmath.pi)) - 1


def tanh_rest(u: mpf) -> mpf:
    """(x - tanh x) / x^3 with u = x^2."""
    x = mpmath.sqrt(u)
    return (x - mpmath.tanh(x)) / x**3 if u > mpf("1e-20") else mpf(1) / 3


def normal_tail(centre: int) -> Function:
    """Make (a + c) Phi(-a) e^(a^2/2) as a function of z = (a - c) / (a + c)."""

    def f(z: mpf) -> mpf:
        a = centre * (1 + z) / (1 - z)
        return (a + centre) * mpmath.exp(a * a / 2) * mpmath.erfc(a / mpmath.sqrt(2)) / 2

    return f


def normal_fit(dtype: type, centre: int, farthest: mpf, degree: int) -> Fit:
    """Describe NORMAL_TAIL on 0 <= a <= farthest."""
    f = normal_tail(centre)
    interval = (mpf(-1), (farthest - centre) / (farthest + centre))
    name = f"NORMAL_TAIL: (a + {centre}) Phi(-a) e^(a^2/2) in z = (a - {centre}) / (a + {centre})"
    return Fit(name, f, lambda z: 1 / f(z), interval, {dtype: degree})


def degrees(float32: int, float64: int) -> dict[type, int]:
    return {np.float32: float32, np.float64: float64}


def fits() -> list[Fit]:
    margin = mpf("1.001")  # the reduced argument overshoots its interval by a few roundings
    half_ln2 = mpmath.log(2) / 2 * margin
    root2 = mpmath.sqrt(2)
    return [
        Fit(
            "EXPM1_TAIL: (e^r - 1 - r) / r^2, error relative to e^r - 1",
            expm1_tail,
            lambda r: abs(r / (1 + r * expm1_tail(r))),
            (-half_ln2, half_ln2),
            degrees(5, 10),
        ),
        Fit(
            "LOG1P_TAIL: (log(1 + g) - g) / g^2, error relative to log(1 + g)",
            log1p_tail,
            lambda g: abs(g / (1 + g * log1p_tail(g))),
            ((1 / root2 - 1) * margin, (root2 - 1) * margin),
            degrees(8, 19),
        ),
        Fit(
            "ERF_REST: erf(x) / x - 1 in x^2, error relative to erf(x) / x",
            erf_rest,
            lambda u: 1 / (1 + erf_rest(u)),
            (mpf(0), mpf(1)),
            degrees(6, 11),
        ),
        Fit(
            "TANH_REST: (x - tanh x) / x^3 in x^2",
            tanh_rest,
            lambda u: 1 / tanh_rest(u),
            (mpf(0), mpf(1)),
            degrees(7, 15),
        ),
        normal_fit(np.float32, 3, mpf("15.1"), 10),
        normal_fit(np.float64, 5, mpf("39.1"), 22),
    ]


def main() -> None:
    mp.dps = 45
    for fit in fits():
        for dtype, degree in fit.degrees.items():
            low, high = fit.interval
            coefficients, error = remez(fit.f, fit.weight, low, high, degree)
            print(f"{fit.name}\n  {dtype.__name__} on [{mpmath.nstr(low, 5)}, ", end="")
            print(f"{mpmath.nstr(high, 5)}], error 2^{mpmath.nstr(mpmath.log(error, 2), 4)}")
            for c in coefficients:
                print(f"        {dtype(c)!s},")


if __name__ == "__main__":
    main()
