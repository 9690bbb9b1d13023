"""Fit the polynomials and quotients of ``fastlinear.kernels.vecmath`` and print their coefficients.

Weighted minimax approximation by the Remez exchange (Remez 1934) in 45 digits. Each line printed
names the function, the dtype, log2 of the largest relative error and the coefficients, lowest
degree first, rounded to the dtype::

    python benchmarks/minimax.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import mpmath
import numpy as np
from mpmath import mp, mpf

Function = Callable[[mpf], mpf]
GRID = 800  # points of the Chebyshev grid on which the exchange looks for extrema
ROUNDS = 12


def remez(
    f: Function, points: Sequence[mpf], weight: Function, degree: int, below: int
) -> tuple[list[mpf], list[mpf], mpf]:
    """Coefficients of P and Q minimising max |weight (f - P/Q)| on the points; that maximum.

    P has the given degree, Q the degree ``below`` and begins with 1. The error at the reference is
    linear in all unknowns but for its factor Q, which is taken from the round before.
    """
    values, weights = [f(x) for x in points], [weight(x) for x in points]
    size, bottoms = degree + below + 2, [mpf(1)] * len(points)
    reference = [round(i * (len(points) - 1) / (size - 1)) for i in range(size)]
    for _ in range(ROUNDS):
        for _ in range(3 if below else 1):
            matrix = mpmath.matrix(size, size)
            for row, k in enumerate(reference):
                for column in range(degree + 1):
                    matrix[row, column] = points[k] ** column
                for column in range(1, below + 1):
                    matrix[row, degree + column] = -values[k] * points[k] ** column
                matrix[row, size - 1] = (-1) ** row * bottoms[k] / weights[k]
            solution = mpmath.lu_solve(matrix, mpmath.matrix([values[k] for k in reference]))
            top, bottom = list(solution)[: degree + 1], [mpf(1), *list(solution)[degree + 1 : -1]]
            bottoms = [mpmath.polyval(bottom[::-1], x) for x in points]
        errors = [
            w * (y - mpmath.polyval(top[::-1], x) / q)
            for x, y, w, q in zip(points, values, weights, bottoms, strict=True)
        ]
        exchanged = alternation(errors, size)
        if exchanged == reference or len(exchanged) < size:
            break
        reference = exchanged
    return top, bottom, max(abs(e) for e in errors)


def chebyshev(low: mpf, high: mpf) -> list[mpf]:
    """Points of the grid on which the exchange looks for extrema."""
    angles = [mpmath.pi * i / (GRID - 1) for i in range(GRID)]
    return [(low + high) / 2 - (high - low) / 2 * mpmath.cos(angle) for angle in angles]


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


def degrees(float32: int, float64: int) -> dict[type, int]:
    return {np.float32: float32, np.float64: float64}


class Fit(NamedTuple):
    """One polynomial or quotient: what it approximates, where, and its degrees for each dtype."""

    name: str
    f: Function
    weight: Function
    interval: tuple[mpf, mpf]
    degrees: dict[type, int]
    below: dict[type, int] = degrees(0, 0)
    grid: Callable[[mpf, mpf], list[mpf]] = chebyshev
    scale: float = 1.0


def expm1_tail(r: mpf) -> mpf:
    """(e^r - 1 - r) / r^2, from its series: 40 terms reach 45 digits for |r| < 1."""
    return mpmath.fsum(r**k / mpmath.factorial(k + 2) for k in range(40))


def beside_expm1(r: mpf) -> mpf:
    """r^2 / |e^r - 1|: the weight of an error of `expm1_tail`."""
    return abs(r / (1 + r * expm1_tail(r)))


def beyond_half(r: mpf) -> mpf:
    """(e^r - 1 - r - r^2/2) / r^3, as `expm1_tail`."""
    return mpmath.fsum(r**k / mpmath.factorial(k + 3) for k in range(40))


def half_expm1(u: mpf) -> mpf:
    """(e^(-u/2) - 1) / u."""
    return -mpf(1) / 2 + u / 4 * expm1_tail(-u / 2)


def log1p_tail(g: mpf) -> mpf:
    """(log(1 + g) - g) / g^2."""
    return (mpmath.log1p(g) - g) / g**2 if abs(g) > mpf("1e-9") else -mpf(1) / 2 + g / 3


def log1p_rest(e: mpf) -> mpf:
    """(log(1 + e) - e + e^2/2) / e^3; a series near 0, where its terms cancel."""
    if e > mpf("1e-3"):
        return (mpmath.log1p(e) - e + e**2 / 2) / e**3
    return mpmath.fsum((-e) ** k / (k + 3) for k in range(16))


def erf_rest(u: mpf) -> mpf:
    """erf(x) / x - 1 with u = x^2."""
    x = mpmath.sqrt(u)
    return (mpmath.erf(x) / x if u else 2 / mpmath.sqrt(mpmath.pi)) - 1


def tanh_rest(u: mpf) -> mpf:
    """(x - tanh x) / x^3 with u = x^2."""
    x = mpmath.sqrt(u)
    return (x - mpmath.tanh(x)) / x**3 if u > mpf("1e-20") else mpf(1) / 3


def mills(a: mpf) -> mpf:
    """Phi(-a) e^(a^2/2)."""
    return mpmath.exp(a * a / 2) * mpmath.erfc(a / mpmath.sqrt(2)) / 2


def stretched(low: mpf, high: mpf) -> list[mpf]:
    """Points dense near zero, for a function that decays like 1/a: Chebyshev's in (a-c)/(a+c)."""
    centre = mpmath.sqrt(high)
    z = chebyshev((low - centre) / (low + centre), (high - centre) / (high + centre))
    return [centre * (1 + t) / (1 - t) for t in z]


def mills_fit(dtype: type, farthest: mpf, degree: int) -> Fit:
    """Describe MILLS_M / MILLS_N on 0 <= a <= farthest, with the rounded ROOT_2_PI."""
    root = mpf(float(dtype(mpmath.sqrt(2 * mpmath.pi))))
    return Fit(
        "MILLS_M / MILLS_N: 1 / (Phi(-a) e^(a^2/2)) - sqrt(2 pi) a, error relative to the first",
        lambda a: 1 / mills(a) - root * a,
        mills,
        (mpf(0), farthest),
        {dtype: degree},
        {dtype: degree + 1},
        stretched,
        # Starting from 3/4 and 3/2, neither they nor the denominator lie just above a power of two,
        # with its larger roundings, where gelu lies just below one: 3.5 ULP; from 7/8 and 7/4 4.0.
        0.75,
    )


def fits() -> list[Fit]:
    margin = mpf("1.001")  # the reduced argument overshoots its interval by a few roundings
    half_ln2 = mpmath.log(2) / 2 * margin
    root2 = mpmath.sqrt(2)
    return [
        Fit(
            "EXPM1_TAIL: (e^r - 1 - r) / r^2, error relative to e^r - 1",
            expm1_tail,
            beside_expm1,
            (-half_ln2, half_ln2),
            {np.float32: 5},
        ),
        Fit(
            "EXPM1_TAIL: the same, further up for what rounds n downwards",
            expm1_tail,
            beside_expm1,
            (-half_ln2, mpmath.log(1.5) * margin),
            {np.float64: 10},
        ),
        Fit(
            "BRIEF_TAIL, all but its 1/2: (e^r - 1 - r - r^2/2) / r^3, error relative to e^r - 1",
            beyond_half,
            lambda r: abs(r) * beside_expm1(r),
            (-half_ln2, half_ln2),
            {np.float32: 3},
        ),
        Fit(
            "SHORT_TAIL: (e^r - 1 - r) / r^2, error relative to e^r",
            expm1_tail,
            lambda r: r**2 * mpmath.exp(-r),
            (-half_ln2, half_ln2),
            degrees(4, 9),
        ),
        Fit(
            "HALF_EXPM1: (e^(-u/2) - 1) / u, error relative to e^(-u/2)",
            half_expm1,
            lambda u: abs(u) * mpmath.exp(u / 2),
            (-2 * half_ln2, 2 * half_ln2),
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
            "LOG1P_REST: (log(1 + e) - e + e^2/2) / e^3, error relative to log(1 + e)",
            log1p_rest,
            lambda e: e**3 / mpmath.log1p(e),
            (mpf(2) ** -30, mpf(1)),
            degrees(8, 18),
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
        mills_fit(np.float32, mpf("15.1"), 4),
        mills_fit(np.float64, mpf("39.1"), 9),
    ]


def main() -> None:
    mp.dps = 45
    for fit in fits():
        for dtype, degree in fit.degrees.items():
            low, high = fit.interval
            points = fit.grid(low, high)
            top, bottom, error = remez(fit.f, points, fit.weight, degree, fit.below[dtype])
            print(f"{fit.name}\n  {dtype.__name__} on [{mpmath.nstr(low, 5)}, ", end="")
            print(f"{mpmath.nstr(high, 5)}], error 2^{mpmath.nstr(mpmath.log(error, 2), 4)}")
            for coefficients in (top, bottom)[: 2 if fit.below[dtype] else 1]:
                print("    (")
                for c in coefficients:
                    print(f"        {dtype(fit.scale * c)!s},")
                print("    )")


if __name__ == "__main__":
    main()
