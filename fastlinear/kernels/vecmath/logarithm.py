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
    at_least,
    decay,
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
# The same on [0, 1]: 2^-30.2 and 2^-59.2. In two parts, tail(g) = LOW(g) + g^4 HIGH(g): the even
# degrees, all of one sign there, would cancel against the odd ones, 3.4 ULP in softplus.
TAIL_TO_1_LOW = polynomial(
    float32=(
        -0.49999988,
        0.3333269,
        -0.2498858,
        0.19897935,
    ),
    float64=(
        -0.49999999999999906,
        0.3333333333331395,
        -0.2499999999863208,
        0.19999999950442,
    ),
)
TAIL_TO_1_HIGH = polynomial(
    chains=(1, 4),
    float32=(
        -0.16129342,
        0.12467135,
        -0.08307422,
        0.041981474,
        -0.013631526,
        0.0020729557,
    ),
    float64=(
        -0.16666665578831116,
        0.14285698377563208,
        -0.12499835235788595,
        0.11109850173046225,
        -0.09992647035433971,
        0.09057474367957993,
        -0.08212642037881028,
        0.07341417537629306,
        -0.06310944046010966,
        0.05039072031005768,
        -0.035877402036611286,
        0.02180844857272005,
        -0.01080807621570669,
        0.0041399080299550734,
        -0.001139668658674892,
        0.00019945179566878518,
        -1.6599311213626502e-05,
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
    """Return the natural logarithm of x: -inf at 0, NaN below. Measured: 1.05, 1.24 ULP."""
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
    """Return log(1 + x): -inf at -1, NaN below. Measured: 1.55, 1.59 ULP."""
    real = type(x)
    n = exponent((real(1) + x) * real(ROOT_2))
    scale = power_of_two(real(2) - n)
    # 2^-n (1 + x) - 1 in one rounding, although 1 + x was rounded to find n.
    g = fma(scale, x * real(0.25), fma(scale, real(0.25), real(-1)))
    y = log_reduced(g, n)
    y = select(x < real(-1), real(NAN), select(x == real(-1), real(-INFINITY), y))
    return select((abs(x) > NEGLIGIBLE(x)) & (x < real(INFINITY)), y, x)


@inlined
def softplus(x, rest):
    """Return log(1 + e^x), where ``rest`` is what rounding took from |x| (0.0 for nothing).

    Measured: 2.05, 2.28 ULP.
    """
    real = type(x)
    e, _, _ = decay(-abs(x), -rest)
    square = e * e
    tail = fma(square * square, TAIL_TO_1_HIGH(e), TAIL_TO_1_LOW(e))
    return at_least(x, real(0)) + fma(square, tail, e)


@inlined
def log_sigmoid(x):
    """Return log(sigmoid(x)) = -log(1 + e^-x). Measured: 2.05, 2.14 ULP."""
    return -softplus(-x, type(x)(0))
