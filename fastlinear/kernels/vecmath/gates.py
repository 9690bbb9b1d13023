"""x times a gate that rises from 0 to 1: silu, gelu and mish, each with its derivative.

A product with x is formed before it is scaled down: x e may be a normal number where e alone is
not. silu and gelu's approximation lower the denominator 1 + e^-v instead, so that nothing
overflows; gelu and mish compute with e = e^-v for a v >= 0, as (1 + s) P LOWER.
"""

from __future__ import annotations

from fastlinear.kernels.fma import fma
from fastlinear.kernels.vecmath.exponential import (
    LIFT,
    LOWER,
    SATURATED,
    VANISHED,
    at_least,
    at_most,
    decay,
    falling,
    lowered,
    shrink,
)
from fastlinear.kernels.vecmath.floats import constant, select
from fastlinear.kernels.vecmath.inlined import inlined
from fastlinear.kernels.vecmath.normal import (
    FARTHEST,
    damped_quotient,
    mills,
)

# v(x) = 2 sqrt(2/pi) (x + 0.044715 x^3) = x (C_0 + C_1 x^2), each coefficient a sum of two floats.
# C_0 begins with 12 bits, so that subtracting it from the sum is exact.
C_0 = 1.595703125
C_0_REST = constant(float32=6.59966e-05, float64=6.599660573071176e-05)
C_1 = constant(float32=0.071354814, float64=0.07135481627260025)
C_1_REST = constant(float32=2.3988325e-09, float64=-6.175149918155315e-19)

INVERSE_ROOT_2_PI = 0.3989422804014327


@inlined
def gated(x, v, rest):
    """Return x sigmoid(v + rest), for x and v of one sign and not below VANISHED."""
    bound = -SATURATED(v)
    return select(v > bound, x, x / lowered(at_most(v, bound), rest) * LOWER(x))


@inlined
def gated_prime(x, a, v, rest, v_prime, taken):
    """Return the derivative of `gated` in x, v' = ``v_prime``; all but x at a = |x|, v bounded.

    f'(-a) = sigmoid(-v) (1 - a v' sigmoid(v)) = e (1 - a v' + e) / (1 + e)^2 with e = e^-v, and
    f'(a) = 1 - f'(-a). ``taken`` is what rounding v' took from -a v' (-0.0, which costs nothing,
    for an exact v').
    """
    s, P = falling(v, rest, LIFT(x))
    one, unit = type(x)(1), P * LOWER(x)
    e = fma(s, unit, unit)  # beside 1 only, where subnormal numbers do not count
    y = fma(-a, v_prime, (one + e) + taken)
    y = shrink(fma(y, s, y) / fma(e, e + type(x)(2), one), P)
    return select(x < type(x)(0), y, one - y)


@inlined
def silu(x):
    """Return x sigmoid(x). Measured: 2.00, 2.00 ULP."""
    x = at_least(x, VANISHED(x))
    return gated(x, x, type(x)(-0.0))


@inlined
def silu_prime(x):
    """Return the derivative of `silu`. Measured: 3.61, 3.43 ULP, of 1/2 around its zero."""
    a = at_most(abs(x), -VANISHED(x))
    return gated_prime(x, a, a, type(x)(-0.0), type(x)(1), type(x)(-0.0))


@inlined
def cubic(x):
    """Return (v, rest) with v + rest = 2 sqrt(2/pi) (x + 0.044715 x^3)."""
    first = type(x)(C_0)
    square = x * x
    factor = fma(C_1(x), square, first)
    rest = fma(C_1(x), fma(x, x, -square), fma(C_1_REST(x), square, C_0_REST(x)))
    rest += fma(C_1(x), square, first - factor)
    v = x * factor
    return v, fma(x, factor, -v) + x * rest


@inlined
def gelu_tanh(x):
    """Return x (1 + tanh u) / 2, u = sqrt(2/pi) (x + 0.044715 x^3). Measured: 2.00, 1.92 ULP."""
    v, rest = cubic(at_most(at_least(x, -FARTHEST(x)), FARTHEST(x)))
    return gated(at_least(x, -FARTHEST(x)), at_least(v, VANISHED(x)), rest)


@inlined
def gelu_tanh_prime(x):
    """Return the derivative of `gelu_tanh`. Measured: 3.41, 2.42 ULP, of 1/2 around its zero."""
    real = type(x)
    a = at_most(abs(x), FARTHEST(x))
    v, rest = cubic(a)
    square, slope, first = a * a, real(3) * C_1(x), real(C_0)
    v_prime = fma(slope, square, first)
    v_prime_rest = fma(slope, square, first - v_prime) + fma(slope, fma(a, a, -square), C_0_REST(x))
    return gated_prime(x, a, at_most(v, -VANISHED(x)), rest, v_prime, -a * v_prime_rest)


@inlined
def gelu(x):
    """Return x Phi(x), Phi the normal distribution function. Measured: 3.51, 3.36 ULP."""
    real = type(x)
    a = at_most(abs(x), FARTHEST(x))
    aN, _, D = mills(a)
    y = damped_quotient(aN, D, a)  # a Phi(-a) / LOWER
    return fma(-LOWER(x), y, at_least(x, real(-0.0)))


@inlined
def gelu_prime(x):
    """Return Phi(x) + x phi(x). Measured: 3.85, 3.10 ULP, of 1/2 around its zero."""
    real = type(x)
    a = at_most(abs(x), FARTHEST(x))
    _, N, D = mills(a)
    y = damped_quotient(fma(real(-INVERSE_ROOT_2_PI) * a, D, N), D, a) * LOWER(x)
    # y = Phi(-a) - a phi(a)
    return select(x < real(0), y, real(1) - y)


@inlined
def mish_terms(x):
    """Return (a, e, s, P, d, rest): e = e^-a = (1 + s) P LOWER, d + rest the gate's denominator.

    The gate tanh(log(1 + u)), u = e^x, is u (u + 2) / (u (u + 2) + 2). That is e (2 + e) / d on
    the negative side, d = 2 + 2 e + e^2. On the positive side u = 1/e, and multiplied by e^2 it is
    (1 + 2 e) / d with d = 1 + 2 e + 2 e^2.
    """
    real = type(x)
    negative = x < real(0)
    a = at_most(abs(x), -VANISHED(x))
    e, s, P = decay(-a, real(-0.0))
    one, two = real(1), real(2)
    inner, last = fma(select(negative, one, two), e, two), select(negative, two, one)
    d = fma(e, inner, last)
    return a, e, s, P, d, fma(e, inner, last - d)


@inlined
def mish(x):
    """Return x tanh(log(1 + e^x)). Measured: 2.63, 2.37 ULP.

    The gate is e (1 - e (1 + e) / d) on the negative side, 1 - 2 e^2 / d on the positive one: both
    brackets lie between 0.6 and 1, so what is taken away need not be exact.
    """
    real = type(x)
    negative = x < real(0)
    a, e, s, P, d, _ = mish_terms(x)
    taken = e * (e + select(negative, real(1), e)) / d
    y = select(negative, fma(-a, s, -a), x)
    y = fma(select(negative, -y, -a), taken, y)
    return select(negative, shrink(y, P), y)


@inlined
def mish_prime(x):
    """Return the derivative of `mish`. Measured: 3.70, 3.67 ULP, of 1/2 around its zero.

    e (4 + 4 x + (6 + 4 x) e + 4 e^2 + e^3) / d^2 on the negative side; on the positive one
    the same polynomial with its coefficients reversed, over d^2.
    """
    real = type(x)
    negative = x < real(0)
    one, four = real(1), real(4)
    a, e, s, P, d, rest = mish_terms(x)
    signed = select(negative, -a, a)
    first, second = fma(four, signed, four), fma(four, signed, real(6))
    y = fma(e, select(negative, one, first), select(negative, four, second))
    y = fma(e, y, select(negative, second, four))
    y = fma(e, y, select(negative, first, one))
    y = select(negative, fma(y, s, y), y) / fma(d, d, (d + d) * rest)
    return select(negative, shrink(y, P), y)
