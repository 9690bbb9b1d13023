"""e^x and what is made of it: expm1 and the logistic function.

All reduce x = n ln 2 + r, |r| at most ln(2)/2 or little more, and approximate s = e^r - 1 by one
polynomial. What decays like e^-x is handed on as (s, P) too, meaning (1 + s) P LOWER: a product
such as x e^x is then x + x s, in one rounding, scaled at its end, and keeps every bit down to the
smallest results.
"""

from __future__ import annotations

from typing import Any

from fastlinear.kernels.fma import fma
from fastlinear.kernels.vecmath.floats import (
    constant,
    nearest,
    polynomial,
    power_of_two,
    rounded_and_power,
    select,
)
from fastlinear.kernels.vecmath.inlined import inlined

LOG2_E = constant(float32=1.442695, float64=1.4426950408889634)
# ln 2 as a sum of two floats.
LN2 = constant(float32=0.6931472, float64=0.6931471805599453)
LN2_REST = constant(float32=-1.9046542e-09, float64=2.3190468138462996e-17)
# The same, the first so short that n times it is exact.
LN2_SHORT = constant(float32=0.69314575, float64=0.6931471805598903)
LN2_LONG = constant(float32=1.4286068e-06, float64=5.497923018708371e-14)

# (e^r - 1 - r) / r^2 on [-0.347, 0.347] and, for LATER, up to 0.406: error relative to e^r - 1
# 2^-32.0 and 2^-60.3 (benchmarks/minimax.py).
TAIL: dict[str, Any] = {
    "float32": (0.5, 0.16666666, 0.04166636, 0.00833339, 0.001394072, 0.00019845898),
    "float64": (
        0.5,
        0.16666666666666682,
        0.041666666666668864,
        0.00833333333331675,
        0.0013888888887790625,
        0.00019841269897166331,
        2.48015894582092e-05,
        2.755723444652481e-06,
        2.7555490104099427e-07,
        2.511199493639231e-08,
        2.1451026714887217e-09,
    ),
}
EXPM1_TAIL = polynomial(**TAIL, chains=(2, 2), first_alone=True)

# The same function, a term less, where s is added to 1: error relative to e^r 2^-28.3 and 2^-57.9.
# By the longer one e^x is within 0.99 ULP; by this one it would be off by more than one.
SHORT_TAIL: dict[str, Any] = {
    "float32": (0.49999994, 0.1666652, 0.041668393, 0.008368781, 0.0013814468),
    "float64": (
        0.5000000000000011,
        0.1666666666666641,
        0.04166666666652919,
        0.008333333333495625,
        0.0013888888943922042,
        0.00019841269504755667,
        2.480149276346441e-05,
        2.7557587356515207e-06,
        2.7630378373788054e-07,
        2.4999959202672123e-08,
    ),
}
EXP_TAIL = polynomial(**SHORT_TAIL, chains=(1, 2))
# (e^-r - 1 + r) / r^2, for `falling`.
FALLING_TAIL = polynomial(**SHORT_TAIL, of=-1.0, chains=(2, 2))

# What x is short of while n is found, so that s lies between -1/4 and 1/2: ln(2)/2 - log(3/2). With
# the nearest n its last bit would be coarser below -1/4, where e^x - 1 is small: in float64 expm1
# would be off by 2.06 ULP. In float32 it is not, and -0.0 costs nothing.
LATER = constant(float32=-0.0, float64=-0.058891517828191795)

# From here on x, also x e^x and x^2 e^x are zero: the smallest subnormals are e^-103.3, e^-744.4.
VANISHED = constant(float32=-120.0, float64=-800.0)
# Above, e^x is infinity.
OVERFLOWN = constant(float32=89.0, float64=710.0)
# Below, e^x and x e^x vanish beside 1.
SATURATED = constant(float32=-40.0, float64=-100.0)
# Below half the spacing at 1, expm1(x) rounds to x.
NEGLIGIBLE = constant(float32=2.0**-25, float64=2.0**-54)
# Moves the exponents that occur in decays into the normal range, and its inverse power of two.
LIFT = constant(float32=64.0, float64=512.0)
LOWER = constant(float32=2.0**-64, float64=2.0**-512)


@inlined
def at_least(x, bound):
    """Return max(x, bound); NaN where x is."""
    return select(x < bound, bound, x)


@inlined
def at_most(x, bound):
    """Return min(x, bound); NaN where x is."""
    return select(x > bound, bound, x)


@inlined
def rest_of(x, bounded, rest):
    """Return ``rest`` where x is what it was bounded to; elsewhere, as for a NaN, nothing: -0.0."""
    return select(bounded == x, rest, type(x)(-0.0))


@inlined
def reduced(x, rest, offset, later, tail):
    """Return (s, P, n), e^(x + rest) = (1 + s) 2^n, |s| <= 1/2, P = 2^(n + offset).

    ``rest`` is what rounding took from the argument, far below it; -0.0 (which costs nothing) for
    an exact one. P is right where it is a normal number. ``later`` is LATER or -0.0, and ``tail``
    one of the two polynomials; only EXPM1_TAIL goes with LATER.
    """
    n, P = rounded_and_power(x + later, LOG2_E(x), offset)
    r = fma(-n, LN2_REST(x), fma(-n, LN2(x), x)) + rest
    return fma(r * r, tail(r), r), P, n


@inlined
def falling(x, rest, offset):
    """Return (s, P) of e^-(x + rest), as `reduced` does with -x and -r.

    Where x was bounded, LLVM makes three operations of -min(x, bound): the sigmoid took 10.9 cycles
    a vector, and takes 9.3.
    """
    n, P = rounded_and_power(x, -LOG2_E(x), offset)
    r = fma(n, LN2_REST(x), fma(n, LN2(x), x)) + rest
    return fma(r * r, FALLING_TAIL(r), -r), P


@inlined
def shrink(y, P):
    """Return y P LOWER, rounded once, for the P of `decay` and y not many powers of ten from 1."""
    return y * P * LOWER(y)


@inlined
def decay(x, rest):
    """Return (e, s, P), e = (1 + s) P LOWER = e^(x + rest) for x <= 0, zero from VANISHED on.

    There ``rest`` may be anything: of an infinite product, for one, it is NaN.
    """
    bounded = at_least(x, VANISHED(x))
    s, P, _ = reduced(bounded, rest_of(x, bounded, rest), LIFT(x), type(x)(-0.0), EXP_TAIL)
    return fma(P, s, P) * LOWER(x), s, P


@inlined
def decay_of_product(p, x):
    """Return e^(p x) for x <= 0 and p from 2^-120 on; the product itself is not rounded."""
    bounded = at_least(x, VANISHED(x) / p)
    n, P = rounded_and_power(p * bounded, LOG2_E(x), LIFT(x))
    r = fma(-n, LN2_LONG(x), fma(p, bounded, -n * LN2_SHORT(x)))
    return fma(P, fma(r * r, EXP_TAIL(r), r), P) * LOWER(x)


@inlined
def exponential(x, rest):
    """Return e^(x + rest), where ``rest`` is a rounding error (-0.0 for none)."""
    real = type(x)
    bounded = at_most(at_least(x, VANISHED(x)), OVERFLOWN(x))
    exact, none = rest_of(x, bounded, rest), real(-0.0)
    s, _, n = reduced(bounded, exact, real(0), none, EXPM1_TAIL)
    # 2^n itself may lie outside the normal range, its two halves never.
    half = nearest(n * real(0.5))
    scale = power_of_two(half)
    return fma(scale, s, scale) * power_of_two(n - half)


@inlined
def exp(x):
    """Return e^x. Measured: 0.99, 0.99 ULP."""
    return exponential(x, type(x)(-0.0))


@inlined
def expm1(x):
    """Return e^x - 1. Measured: 1.44, 1.18 ULP."""
    real = type(x)
    bounded = at_most(at_least(x, SATURATED(x)), OVERFLOWN(x))
    # Half of it, because the scale 2^n of the largest results would be infinite.
    s, scale, _ = reduced(bounded, real(-0.0), real(-1), LATER(x), EXPM1_TAIL)
    y = real(2) * fma(scale, s, scale - real(0.5))
    return select(abs(x) < NEGLIGIBLE(x), x, y)


@inlined
def expm1_below(x):
    """Return e^x - 1 for x < 0, in fewer operations than `expm1`.

    Beside the 1, n LN2_REST is lost: left out, no error of `elu` grows, and it takes 0.95 of the
    time.
    """
    real = type(x)
    bounded = at_least(x, SATURATED(x))
    n, scale = rounded_and_power(bounded, LOG2_E(x), real(0))
    r = fma(-n, LN2(x), bounded)
    s = fma(r * r, EXPM1_TAIL(r), r)
    return fma(scale, s, scale - real(1))


@inlined
def lowered(x, rest):
    """Return LOWER (1 + e^-(x + rest)), whose inverse is the logistic function.

    For x from VANISHED to -SATURATED. Lowered, the sum is a normal number for all of them. Added
    first to the fraction s, the 1 is rounded less than added to P: sigmoid 2.00 ULP, not 2.36.
    """
    s, P = falling(x, rest, -LIFT(x))
    return P + fma(P, s, LOWER(x))


@inlined
def logistic(x, rest):
    """Return 1 / (1 + e^-(x + rest)), where ``rest`` is a rounding error (-0.0 for none)."""
    bounded = at_most(at_least(x, VANISHED(x)), -SATURATED(x))
    return LOWER(x) / lowered(bounded, rest_of(x, bounded, rest))


@inlined
def sigmoid(x):
    """Return 1 / (1 + e^-x). Measured: 2.00, 2.00 ULP."""
    return logistic(x, type(x)(-0.0))


@inlined
def sigmoid_prime(x):
    """Return sigmoid(x) (1 - sigmoid(x)) = e / (1 + e)^2 with e = e^-|x|.

    Measured: 2.38, 2.42 ULP.
    """
    real = type(x)
    e, _, _ = decay(-abs(x), real(-0.0))
    return e / fma(e, e + real(2), real(1))
