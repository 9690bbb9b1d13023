"""The error function and the normal distribution: erf, and the tail that exact GELU needs."""

from __future__ import annotations

from fastlinear.kernels.fma import fma
from fastlinear.kernels.vecmath.exponential import at_most, decay
from fastlinear.kernels.vecmath.floats import constant, copysign, polynomial, select
from fastlinear.kernels.vecmath.inlined import inlined

# erf(x) / x - 1 in x^2 on [0, 1]: error relative to erf(x) / x 2^-29.6 and 2^-56.9
# (benchmarks/minimax.py).
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

# (a + c) Phi(-a) e^(a^2/2) in z = (a - c) / (a + c), for a on [0, 15.1] with c = 3 and [0, 39.1]
# with c = 5: relative error 2^-30.0 and 2^-57.2 (benchmarks/minimax.py). The factor a + c takes out
# the decay 1/a, so that the polynomial stays near one half and no terms cancel.
CENTRE = constant(float32=3.0, float64=5.0)
NORMAL_TAIL = polynomial(
    float32=(
        0.7290837,
        -0.509332,
        0.2300177,
        -0.047262687,
        -0.010462512,
        0.0069693127,
        0.00102475,
        -0.0010325803,
        -0.0002447267,
        0.00013134052,
        5.4493652e-05,
    ),
    float64=(
        0.769193049750063,
        -0.6653825028900567,
        0.4953056159699773,
        -0.31353315667129616,
        0.16502036617033664,
        -0.06911863870657102,
        0.020795066800853964,
        -0.002993376766686671,
        -0.000797869408183322,
        0.000544899033190188,
        -5.937567374203725e-05,
        -4.976265363269892e-05,
        1.6681037427293203e-05,
        3.980379633951437e-06,
        -2.768944314486089e-06,
        -3.355246455183804e-07,
        4.3287446784234863e-07,
        4.086167880143183e-08,
        -6.600728859357687e-08,
        -8.279215333890857e-09,
        7.94430972029121e-09,
        1.4264927767767936e-09,
        -3.050157872267109e-10,
    ),
)

# From here on a, Phi(-a), a Phi(-a) and a phi(a) are zero.
FARTHEST = constant(float32=15.0, float64=39.0)
ROOT_2 = 1.4142135623730951


@inlined
def scaled_tail(a):
    """Return (y, low), y + low = Phi(-a) e^(a^2/2) for 0 <= a <= FARTHEST.

    That is Mills' ratio over sqrt(2 pi).
    """
    real = type(a)
    sum_ = a + CENTRE(a)
    w = real(1) / sum_
    # What rounding took from the sum and from its reciprocal, relative to them.
    rest = fma(w, (sum_ - CENTRE(a)) - a, fma(-w, sum_, real(1)))
    # z = 2 a w - 1 rather than 1 - 2 c w: near a = 0 the rounding of w counts less.
    z = fma(a + a, w, real(-1))
    scaled = NORMAL_TAIL(fma(z + real(1), rest, z))
    y = w * scaled
    return y, fma(y, rest, fma(w, scaled, -y))


@inlined
def gaussian(a):
    """Return (s, n, rest) with e^(-a^2/2) = (1 + s) (1 + rest) 2^n, rest what rounding a^2 took."""
    real = type(a)
    square = a * a
    _, s, n = decay(real(-0.5) * square, real(-0.0))
    return s, n, real(-0.5) * fma(a, a, -square)


@inlined
def erf(x):
    """Return the error function 2/sqrt(pi) integral_0^x e^-t^2 dt. Measured: 1.15, 1.03 ULP."""
    real = type(x)
    a = abs(x)
    near = fma(a, ERF_REST(a * a), a)
    # erf(x) = 1 - 2 Phi(-a sqrt(2)); sqrt(2)'s rounding is too small to count in the slow factor.
    bounded = at_most(a, real(6))
    tail, _ = scaled_tail(real(ROOT_2) * bounded)
    square = bounded * bounded
    e, _, _ = decay(-square, -fma(bounded, bounded, -square))
    far = fma(real(-2) * tail, e, real(1))
    return copysign(select(a < real(1), near, far), x)
