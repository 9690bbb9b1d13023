"""The error function and the normal distribution: erf, and the tail that exact GELU needs."""

from __future__ import annotations

from typing import Any

from fastlinear.kernels.fma import fma
from fastlinear.kernels.vecmath.exponential import (
    LIFT,
    LN2_LONG,
    LN2_SHORT,
    LOG2_E,
    at_most,
    decay,
)
from fastlinear.kernels.vecmath.floats import (
    constant,
    copysign,
    polynomial,
    rounded_and_power,
    select,
)
from fastlinear.kernels.vecmath.inlined import inlined

# erf(x) / x - 1 in x^2 on [0, 1]: error relative to erf(x) / x 2^-29.6 and 2^-56.9
# (benchmarks/minimax.py). Split, erf's error was 1.14 ULP for 0.97.
ERF_REST = polynomial(
    float32=(
        0.12837917,
        -0.37612626,
        0.112835854,
        -0.026853813,
        0.0051883277,
        -0.00080101937,
        7.853861e-05,
    ),
    float64=(
        0.12837916709551256,
        -0.3761263890318352,
        0.11283791670944185,
        -0.026866170643111437,
        0.005223977606118122,
        -0.0008548325929294754,
        0.00012055293576264557,
        -1.492471228935689e-05,
        1.6447131412954665e-06,
        -1.6206312542947838e-07,
        1.3710975161631955e-08,
        -7.779458791376656e-10,
    ),
)

# Phi(-a) e^(a^2/2), Mills' ratio over sqrt(2 pi), is N / (sqrt(2 pi) a N + M) with M / N a quotient
# fitted on [0, 15.1] and [0, 39.1]: relative error 2^-30.4 and 2^-57.8 (benchmarks/minimax.py). No
# coefficient is negative, so no terms cancel; and the rounding of N, the longest, counts only as
# far as M does, since a N stands above and below. They are two chains already: split, GELU's
# error was larger, and its time the same.
ROOT_2_PI = 2.5066282746310007
MILLS_M = polynomial(
    float32=(1.5, 0.94844395, 0.31387678, 0.05651532, 0.004740206),
    float64=(
        1.5,
        1.8581467476596818,
        1.1770145825089968,
        0.483996994885173,
        0.14032135487753766,
        0.029525065759022997,
        0.004496518893156634,
        0.0004785385017470335,
        3.2471043563102074e-05,
        1.08312741849506e-06,
    ),
)
MILLS_N = polynomial(
    float32=(0.75, 0.81579417, 0.4260098, 0.12880474, 0.022555185, 0.0018908959),
    float64=(
        0.75,
        1.2706455562143164,
        1.064732029543183,
        0.5712941129026763,
        0.2155176695606426,
        0.05949007347792402,
        0.012158023939148582,
        0.0018197596163528741,
        0.00019177345235339558,
        1.2954072159516069e-05,
        4.3210532233452374e-07,
    ),
)

# (e^(-u/2) - 1) / u on [-0.694, 0.694]: error relative to e^(-u/2) 2^-28.9 and 2^-58.0
# (benchmarks/minimax.py).
DAMPING: dict[str, Any] = {
    "float32": (-0.5, 0.124999985, -0.020833038, 0.0026042506, -0.00026169486, 2.163056e-05),
    "float64": (
        -0.5,
        0.1250000000000003,
        -0.020833333333332767,
        0.00260416666665729,
        -0.00026041666667348136,
        2.1701388979213793e-05,
        -1.5500991745632741e-06,
        9.688082129182162e-08,
        -5.38234919748476e-09,
        2.6983575301946567e-10,
        -1.2202794370415627e-11,
    ),
}
HALF_EXPM1 = polynomial(**DAMPING, chains=(2, 2), first_alone=True)

# From here on a, Phi(-a), a Phi(-a) and a phi(a) are zero.
FARTHEST = constant(float32=15.0, float64=39.0)
ROOT_2 = 1.4142135623730951


@inlined
def mills(a):
    """Return (a N, N, D) with Phi(-a) e^(a^2/2) = N / D for 0 <= a <= FARTHEST."""
    real = type(a)
    N = MILLS_N(a)
    aN = a * N
    return aN, N, fma(real(ROOT_2_PI), aN, MILLS_M(a))


@inlined
def damped_quotient(y, D, a):
    """Return y e^(-a^2/2) / D over LOWER, for 0 <= a <= FARTHEST and D from 1 to 2^20.

    a^2 = u + 2 n ln 2 with |u| <= ln 2, to twice the precision: e^-u/2 = 1 + u Q(u), and 2^n goes
    to the denominator, lowered so that the quotient is a normal number until LOWER scales it back.
    """
    two = type(a)(2)
    n, P = rounded_and_power(a * a, LOG2_E(a) / two, -LIFT(a))
    u = fma(-n, two * LN2_LONG(a), fma(a, a, -n * (two * LN2_SHORT(a))))
    return fma(y * u, HALF_EXPM1(u), y) / (D * P)


@inlined
def erf(x):
    """Return the error function 2/sqrt(pi) integral_0^x e^-t^2 dt. Measured: 1.00, 1.05 ULP."""
    real = type(x)
    a = abs(x)
    near = fma(a, ERF_REST(a * a), a)
    # erf(x) = 1 - 2 Phi(-a sqrt(2)); sqrt(2)'s rounding is too small to count in the slow factor.
    bounded = at_most(a, real(6))
    _, N, D = mills(real(ROOT_2) * bounded)
    square = bounded * bounded
    e, _, _ = decay(-square, -fma(bounded, bounded, -square))
    far = fma(real(-2) * (N / D), e, real(1))
    return copysign(select(a < real(1), near, far), x)
