"""The exponential linear units: x on the positive side, e^x less one on the negative."""

from __future__ import annotations

from fastlinear.kernels.activations.pair import Pair, p_not_negative
from fastlinear.kernels.fma import fma
from fastlinear.kernels.vecmath.exponential import (
    decay,
    expm1,
    expm1_below,
    exponential,
    shrink,
)
from fastlinear.kernels.vecmath.floats import select
from fastlinear.kernels.vecmath.inlined import inlined

SELU_SCALE = 1.0507009873554805
SELU_SLOPE = 1.7580993408473768  # 1.0507... times 1.6732..., rounded once


@inlined
def elu(x, p, q):
    """Return x from 0 on, else p (e^x - 1)."""
    return select(x >= type(x)(0), x, p * expm1_below(x))


@inlined
def elu_prime(x, p, q):
    """Return 1 above 0, else p e^x."""
    real = type(x)
    _, s, P = decay(x, real(-0.0))
    return select(x > real(0), real(1), shrink(fma(p, s, p), P))


@inlined
def elu_prime_output(y, p, q):
    """Return 1 above 0, else y + p, if p >= 0."""
    real = type(y)
    return select(y > real(0), real(1), y + p)


@inlined
def selu(x, p, q):
    """Return `elu` with PyTorch's two constants."""
    real = type(x)
    return select(x >= real(0), real(SELU_SCALE) * x, real(SELU_SLOPE) * expm1_below(x))


@inlined
def selu_prime(x, p, q):
    """Return SELU_SCALE above 0, else SELU_SLOPE e^x."""
    real = type(x)
    return select(x > real(0), real(SELU_SCALE), elu_prime(x, real(SELU_SLOPE), q))


@inlined
def selu_prime_output(y, p, q):
    """Return SELU_SCALE above 0, else y + SELU_SLOPE."""
    real = type(y)
    return select(y > real(0), real(SELU_SCALE), y + real(SELU_SLOPE))


@inlined
def celu(x, p, q):
    """Return x above 0, else p (e^(x/p) - 1)."""
    return select(x > type(x)(0), x, p * expm1(x / p))  # of either sign, as p may be


@inlined
def celu_prime(x, p, q):
    """Return 1 above 0, else e^(x/p), where the rounding of x/p counts and is put back."""
    real = type(x)
    t = x / p
    return select(x > real(0), real(1), exponential(t, fma(-t, p, x) / p))


@inlined
def celu_prime_output(y, p, q):
    """Return 1 above 0, else y/p + 1."""
    real = type(y)
    return select(y > real(0), real(1), y / p + real(1))


PAIRS = (
    Pair("elu", elu, elu_prime, elu_prime_output, p_not_negative),
    Pair("selu", selu, selu_prime, selu_prime_output),
    Pair("celu", celu, celu_prime, celu_prime_output),
)
