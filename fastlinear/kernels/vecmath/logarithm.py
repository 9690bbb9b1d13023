"""log and log1p, and the softplus function between exp and log1p.

log and log1p reduce to n ln 2 + log(1 + g) with sqrt(1/2) <= 1 + g < sqrt(2) and share one
polynomial. Softplus needs log(1 + e) for 0 <= e <= 1 only, and has one that reaches so far.
"""

from __future__ import annotations

from fastlinear.kernels.fma import fma
from fastlinear.kernels.vecmath.exponential import (
    LN2,
    LN2_REST,
    NEGLIGIBLE,
    decay_of_product,
)
from fastlinear.kernels.vecmath.floats import constant, exponent, polynomial, power_of_two, select
from fastlinear.kernels.vecmath.inlined import inlined

# (log(1 + g) - g) / g^2 on [-0.2932, 0.4146]: error relative to log(1 + g) 2^-27.9 and 2^-56.8
# (benchmarks/minimax.py).
LOG1P_TAIL = polynomial(
    chains=(4, 4),
    float32=(
        -0.49999988,
        0.33333325,
        -0.25001594,
        0.20001988,
        -0.16608799,
        0.14181347,
        -0.1324505,
        0.12908618,
        -0.07621731,
    ),
    float64=(
        -0.5000000000000003,
        0.3333333333333302,
        -0.24999999999974468,
        0.20000000000086587,
        -0.16666666671430702,
        0.14285714279539224,
        -0.1249999959896598,
        0.11111111098102114,
        -0.10000018153235699,
        0.09090927672845596,
        -0.08332859445400655,
        0.07691424699428617,
        -0.07149992563435896,
        0.06686075872676392,
        -0.06194058900021624,
        0.056578260492219055,
        -0.05678339736026627,
        0.06533175407636077,
        -0.060092301222293504,
        0.02617371006457379,
    ),
)

# (log(1 + e) - e + e^2/2) / e^3 on [0, 1]: error relative to log(1 + e) 2^-29.7 and 2^-56.3
# (benchmarks/minimax.py). In even and odd degrees softplus would be off by 3.4 ULP.
LOG1P_REST = polynomial(
    block=3,
    float32=(
        0.33333093,
        -0.24993329,
        0.19926466,
        -0.16228905,
        0.12680794,
        -0.085935764,
        0.044313233,
        -0.014689297,
        0.002277816,
    ),
    float64=(
        0.3333333333330176,
        -0.24999999996808825,
        0.19999999869832086,
        -0.16666663717980393,
        0.14285671669993655,
        -0.12499574795143023,
        0.11108029207872261,
        -0.09983189886753437,
        0.0902010755994074,
        -0.08098496880495118,
        0.07069130234502054,
        -0.058012467013054375,
        0.042903877514425925,
        -0.027293494685316274,
        0.014215798170566294,
        -0.005731880808503575,
        0.0016607085719722325,
        -0.0003055035653292765,
        2.6676392566733e-05,
    ),
)

INFINITY = float("inf")
NAN = float("nan")
ROOT_2 = 1.4142135623730951
# Makes every subnormal normal.
RAISE = constant(float32=24.0, float64=54.0)


@inlined
def log_reduced(g, n):
    """Return n ln 2 + log(1 + g)."""
    return fma(n, LN2(g), fma(n, LN2_REST(g), fma(g * g, LOG1P_TAIL(g), g)))


@inlined
def log(x):
    """Return the natural logarithm of x: -inf at 0, NaN below. Measured: 1.05, 1.55 ULP."""
    real = type(x)
    small = x < real(1)
    raised = select(small, x * power_of_two(RAISE(x)), x)
    n = exponent(raised * real(ROOT_2))
    # A quarter of x against four times the scale: 2^-n itself would be subnormal for the largest x.
    g = fma(power_of_two(real(2) - n), raised * real(0.25), real(-1))
    y = log_reduced(g, n - select(small, RAISE(x), real(0)))
    y = select(x < real(0), real(NAN), select(x == real(0), real(-INFINITY), y))
    return select(x < real(INFINITY), y, x)


@inlined
def log1p(x):
    """Return log(1 + x): -inf at -1, NaN below. Measured: 1.55, 1.89 ULP."""
    real = type(x)
    n = exponent((real(1) + x) * real(ROOT_2))
    scale = power_of_two(real(2) - n)
    # 2^-n (1 + x) - 1 in one rounding, although 1 + x was rounded to find n.
    g = fma(scale, x * real(0.25), fma(scale, real(0.25), real(-1)))
    y = log_reduced(g, n)
    y = select(x < real(-1), real(NAN), select(x == real(-1), real(-INFINITY), y))
    return select((abs(x) > NEGLIGIBLE(x)) & (x < real(INFINITY)), y, x)


@inlined
def softplus(x, p):
    """Return log(1 + e^(p x)) / p. Measured for p = 1: 1.99, 1.96 ULP.

    That is log(1 + e^-|p x|) / p and, where p x > 0, x.
    """
    real = type(x)
    e = decay_of_product(abs(p), -abs(x))
    y = fma(e * e, fma(e, LOG1P_REST(e), real(-0.5)), e)
    return fma(y, real(1) / p, select(p * x > real(0), x, real(0)))


@inlined
def log_sigmoid(x):
    """Return log(sigmoid(x)) = -log(1 + e^-x). Measured: 1.99, 2.02 ULP."""
    return -softplus(-x, type(x)(1))
