"""The hyperbolic tangent, its derivative, and what it takes from x."""

from __future__ import annotations

from fastlinear.kernels.fma import fma
from fastlinear.kernels.vecmath.exponential import (
    LATER,
    LN2,
    LOG2_E,
    SATURATED,
    TAIL,
    at_most,
    decay,
    shrink,
)
from fastlinear.kernels.vecmath.floats import (
    constant,
    copysign,
    polynomial,
    rounded_and_power,
    select,
)
from fastlinear.kernels.vecmath.inlined import inlined

# Half of what the rounded ln 2 lacks. n times it counts as far as 2^n does beside 1: in float32 not
# at all, and no operation is spent on it.
LACKING = constant(float32=0.0, float64=1.1595234069231498e-17)

# (e^r - 1 - r) / r^2, a term less than in EXPM1_TAIL: error relative to e^r - 1 2^-26.1
# (benchmarks/minimax.py). tanh is off by 1.97 ULP, not 1.91, and takes 0.97 of the time.
BRIEF_TAIL = (0.5, 0.16666548, 0.041666854, 0.0083661, 0.001389824)
# ((e^-2r - 1)/2 + r) / r^2
TWICE_TAIL = polynomial(
    float32=BRIEF_TAIL,
    float64=TAIL["float64"],
    times=2.0,
    of=-2.0,
    chains=(1, 2),
    first_alone=True,
)

# (x - tanh x) / x^3 in x^2 on [0, 1]: relative error 2^-27.5 and 2^-56.0 (benchmarks/minimax.py).
TANH_REST = polynomial(
    chains=(1, 2),
    float32=(
        0.33333334,
        -0.1333331,
        0.053963423,
        -0.021829586,
        0.008697951,
        -0.0032069534,
        0.000923609,
        -0.00014282385,
    ),
    float64=(
        0.3333333333333333,
        -0.13333333333333092,
        0.05396825396804676,
        -0.021869488529140252,
        0.00886323540474794,
        -0.0035921266809210233,
        0.0014558247014031529,
        -0.0005899793328557604,
        0.0002389571632701993,
        -9.646300882090668e-05,
        3.838995562264377e-05,
        -1.4606505045467668e-05,
        4.988039658604345e-06,
        -1.3793197602994117e-06,
        2.633484500329469e-07,
        -2.5160422938749384e-08,
    ),
)


@inlined
def tanh(x):
    """Return tanh(x) = -expm1(-2|x|) / (2 + expm1(-2|x|)), signed. Measured: 1.97, 2.00 ULP.

    |x| = r - n (ln 2)/2, n <= 0, so e^-2|x| = P/2 + P s with P = 2^(n+1) and s = (e^-2r - 1)/2:
    halved, s begins with -r, and is one fma of it. The r of n = -1 and -2, where s counts most, is
    exact; what the rounded ln 2 lacks goes to the smaller term of s. With all of it in r float64
    was off by 2.1 ULP, in a fifteenth less time.
    """
    real = type(x)
    a = at_most(abs(x), real(-0.5) * SATURATED(x))
    shifted = a - real(0.5) * LATER(x)
    n, P = rounded_and_power(shifted, real(-2) * LOG2_E(x), real(1))
    r = fma(n, real(0.5) * LN2(x), a)
    square, tail, lacking = r * r, TWICE_TAIL(r), LACKING(x)
    complete = fma(square, tail, -n * lacking) - r
    s = select(lacking == real(0), fma(square, tail, -r), complete)  # known when it is compiled
    half, one = real(0.5), real(1)
    y = fma(-P, s, fma(-half, P, one)) / fma(P, s, fma(half, P, one))
    return copysign(y, x)


@inlined
def tanh_prime(x):
    """Return 1 - tanh(x)^2 = 4 e / (1 + e)^2 with e = e^-2|x|. Measured: 2.38, 2.31 ULP."""
    real = type(x)
    e, s, P = decay(real(-2) * abs(x), real(-0.0))
    four = real(4)
    return shrink(fma(four, s, four) / fma(e, e + real(2), real(1)), P)


@inlined
def tanh_split(a):
    """Return (b, c) with tanh(a) = b - c for a >= 0: b is a below 1, and 1 above."""
    real = type(a)
    e, _, _ = decay(real(-2) * a, real(-0.0))
    near = a < real(1)
    c = select(near, a * a * a * TANH_REST(a * a), (e + e) / (real(1) + e))
    return select(near, a, real(1)), c


@inlined
def tanhshrink(x):
    """Return x - tanh(x), without cancellation. Measured: 3.35, 3.82 ULP."""
    a = abs(x)
    b, c = tanh_split(a)
    return copysign((a - b) + c, x)


@inlined
def tanhshrink_prime(x):
    """Return tanh(x)^2. Measured: 3.69, 3.83 ULP."""
    b, c = tanh_split(abs(x))
    return (b - c) * (b - c)
